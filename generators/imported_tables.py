"""Imported rows as tables: tasks, prompts, assignments and rollouts with the ids they would have had if sampled here.

A prompt of this run keeps its problem key, and a key the run holds out stays held out. Token ids that came along are kept
when they say the completion's text under the model's tokenizer; otherwise prompt and completion are rendered, and log-probs
are null.
Knows no store: what a run has already comes in as `Known`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ratoon import ids, reply, schema
from ratoon.errors import DataError
from ratoon.generators.imported import SAMPLING, Row
from ratoon.generators.tasks.task_rows import task_row, text_key
from ratoon.messages import all_text, compact
from ratoon.render import Renderer

FAMILY = "import"
_RANK = {"train": 0, "probe": 1, "eval": 2}


@dataclass
class Known:
    """What the run has: problem keys by the prompt's messages, splits by problem key, and rollouts by group and text."""

    keys: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    rollouts: Counter[tuple[str, str]] = field(default_factory=Counter)
    next_sample: dict[str, int] = field(default_factory=dict)

    def add_tasks(self, tasks: pa.Table) -> None:
        """Columns messages, problem_key, split."""
        for row in tasks.select(["messages", "problem_key", "split"]).to_pylist():
            self.keys[ids.canonical_json(compact(row["messages"]))] = row["problem_key"]
            self._hold(row["problem_key"], row["split"])

    def add_rollouts(self, rollouts: pa.Table) -> None:
        """Columns group_id, text, sample."""
        for row in rollouts.select(["group_id", "text", "sample"]).to_pylist():
            self.rollouts[row["group_id"], row["text"]] += 1
            self.next_sample[row["group_id"]] = max(self.next_sample.get(row["group_id"], 0), (row["sample"] or 0) + 1)

    def _hold(self, key: str, split: str | None) -> None:
        """The split of a key: the strictest anyone gave it."""
        self.splits[key] = max(self.splits.get(key, "train"), split or "train", key=_RANK.__getitem__)

    def keyed(self, rows: Sequence[Row]) -> list[str]:
        """Each row's problem key, its split noted."""
        found = []
        for row in rows:
            key = row.problem_key or self.keys.get(ids.canonical_json(row.turns))
            found.append(key or text_key(all_text(row.turns) or ""))
            self._hold(found[-1], row.split)
        return found


@dataclass(frozen=True, slots=True)
class Placed:
    """A row and its ids; `held` says that its problem is not trained on."""

    row: Row
    task_id: str
    prompt_id: str
    policy_id: str
    sampling_id: str
    group_id: str
    held: bool


def tasks(rows: Sequence[Row], verifier: str, iteration: int, known: Known) -> list[dict[str, Any]]:
    """The task of each row, the same for rows of one question; without a gold answer it has no verifier."""
    keys = known.keyed(rows)  # all of them first: a later row may hold a problem out
    return [
        task_row(
            source="import", family=row.family or FAMILY, level=row.level, messages=row.turns, problem_key=key,
            answer=row.answer, verifier=None if row.answer is None else verifier,
            verifier_args={} if row.answer is None else row.verifier_args,
            split=known.splits[key], iteration=iteration,
        )
        for row, key in zip(rows, keys, strict=True)
    ]  # fmt: skip


def prompts(rows: Sequence[Row], task_ids: Sequence[str], renderer: Renderer | None) -> list[dict[str, Any] | DataError]:
    """The prompt of each row, or why the template refuses it; token ids are null without a renderer."""
    made: dict[tuple[str, str, tuple[int, ...]], dict[str, Any] | DataError] = {}
    out = []
    for row, task in zip(rows, task_ids, strict=True):
        where = (task, ids.canonical_json(row.messages), tuple(row.prompt_token_ids or ()))
        if where not in made:
            made[where] = _prompt(row, task, renderer)
        out.append(made[where])
    return out


def _prompt(row: Row, task: str, renderer: Renderer | None) -> dict[str, Any] | DataError:
    template, token_ids = None, None
    if renderer is not None and row.prompt_token_ids and _says(renderer, row.prompt_token_ids, row.messages[-1]["content"]):
        token_ids = row.prompt_token_ids
    elif renderer is not None:
        try:
            template, token_ids = renderer.template_digest, renderer.render([row.messages])[0]
        except DataError as error:
            return error
    # Without token ids the messages tell prompts apart.
    under = template or ("given" if token_ids else f"messages:{ids.digest(row.messages)}")
    return {
        "prompt_id": ids.prompt_id(task, "solver", under, token_ids or ()), "task_id": task, "role": "solver",
        "template_digest": template, "messages": row.messages, "token_ids": token_ids,
    }  # fmt: skip


def sampling_fields(row: Row) -> dict[str, Any]:
    """What is known of how a row was sampled, as a row of `samplings` without its id; the rest is null."""
    fields: dict[str, Any] = dict.fromkeys(schema.TABLES["samplings"].names[1:])
    for name, value in zip(SAMPLING, row.sampling, strict=True):
        fields[name] = int(value) if value is not None and name in ("top_k", "max_tokens") else value
    return fields


def fresh(placed: Sequence[Placed], known: Known) -> list[Placed]:
    """The rows the run does not have yet: of n equal texts in a group it has m of, the last n − m."""
    have = known.rollouts.copy()
    out = []
    for one in placed:
        if have[one.group_id, one.row.text] > 0:
            have[one.group_id, one.row.text] -= 1
        else:
            out.append(one)
    return out


def assignments(placed: Sequence[Placed], iteration: int, purpose: str, known: Known) -> pa.Table:
    """Who was asked what and how often, by group; sample numbers go on from those the run has."""
    first = {one.group_id: one for one in reversed(placed)}
    counts = Counter(one.group_id for one in placed)
    # One prompt under one sampling may have been asked of several policies: one row says how often in all.
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for group_id, one in first.items():
        row = rows.setdefault(
            (one.prompt_id, one.sampling_id),
            {"iteration": iteration, "task_id": one.task_id, "prompt_id": one.prompt_id, "sampling_id": one.sampling_id,
             "n_planned": 0, "first_sample": known.next_sample.get(group_id, 0), "purpose": purpose,
             "arm": one.row.family or FAMILY},
        )  # fmt: skip
        row["n_planned"] += counts[group_id]
    return schema.from_rows(
        "assignments", sorted(rows.values(), key=lambda r: (r["task_id"], r["prompt_id"], r["sampling_id"]))
    )


def rollouts(placed: Sequence[Placed], iteration: int, renderer: Renderer | None, samples: Mapping[int, int]) -> pa.Table:
    """Table `rollouts`; `samples` maps a row's position in `placed` to its sample number in its group."""
    rows = []
    for i, one in enumerate(placed):
        token_ids, logprobs, how = completion_ids(one.row, renderer)
        meta = {"import": one.row.where, "tokens": how} | ({} if one.row.label is None else {"label": one.row.label})
        starts = reply.parts(one.row.text, reply.THINK if renderer is None else renderer.layout).answer_start
        meta |= {reply.UNFINISHED: True} if starts is None else {}
        rows.append({
            "rollout_id": ids.rollout_id(one.prompt_id, one.policy_id, one.sampling_id, samples[i]), "group_id": one.group_id,
            "task_id": one.task_id, "prompt_id": one.prompt_id, "policy_id": one.policy_id, "sampling_id": one.sampling_id,
            "iteration": iteration, "role": "solver", "turn": 0, "sample": samples[i], "text": one.row.text,
            "answer_start": starts,
            "token_ids": token_ids, "logprobs": logprobs, "loss_mask": None if token_ids is None else [1] * len(token_ids),
            "logprob_source": None if logprobs is None else one.row.logprob_source or "import",
            "finish_reason": one.row.finish_reason, "meta": ids.canonical_json(meta),
        })  # fmt: skip
    return schema.from_rows("rollouts", rows)


def completion_ids(row: Row, renderer: Renderer | None) -> tuple[list[int] | None, list[float] | None, str | None]:
    """Ids, log-probs and whether the ids were `given` or `rendered`. Rendered ids end the turn unless the reply was cut."""
    if renderer is None:
        return None, None, None
    if row.token_ids is not None and _says(renderer, row.token_ids, row.text, whole=True):
        return row.token_ids, row.logprobs, "given"
    end = [] if row.finish_reason == "length" else [renderer.end_of_turn_ids[0]]
    return [*renderer.encode(row.text), *end], None, "rendered"


def _says(renderer: Renderer, token_ids: Sequence[int], text: str, whole: bool = False) -> bool:
    """Whether the ids are this tokenizer's: they read as the text, or hold it."""
    try:
        said = renderer.decode(token_ids).strip()
    except OverflowError:
        return False
    return said == text.strip() if whole else text.strip() in said
