"""Tasks that the policy writes itself from examples (Self-Instruct, arXiv 2212.10560): what it is asked, how replies are read.

Knows no engine and no store: prompts go out as messages, texts come back. One prompt shows tasks that people wrote and, once
there are some, tasks that a model wrote, and asks for more of one kind; kinds that the pool has least of are asked first. For
kinds whose answers are few (labels) the output is written before the input, else inputs lean to one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import ConfigError
from ratoon.generators.proposers import formats as form
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.formats import Draft
from ratoon.generators.proposers.prompts import MARKUP, Ask, Known, Row, drawn, merged
from ratoon.generators.tasks.seeds import task_text
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import assistant, user

_REFUSED = ("image", "picture", "photo", "graph", "diagram", "chart", "video", "audio", "attached", "attachment", "website")
_REPEATED = 3  # accepted tasks that begin alike before the prompt says so
_NAMED = 5  # such beginnings that a prompt names at most


class SelfInstructConfig(Config):
    """One arm of self-instructed tasks."""

    method: Literal["self_instruct"] = Field("self_instruct", description="tasks after the example of seed tasks")
    name: str = Field("self_instruct", pattern=r"^[a-z][a-z0-9_]*$", description="the arm's name, `family` of its tasks")
    asks: int = Field(32, ge=1, description="prompts per wave")
    waves: int = Field(1, ge=1, description="waves per round; each sees what the one before it added")
    per_ask: int = Field(2, ge=1, le=20, description="tasks that one reply is asked for")
    human: int = Field(3, ge=0, description="examples by people in a prompt")
    machine: int = Field(2, ge=0, description="examples by a model in a prompt, once there are some")
    kinds: tuple[str, ...] = Field((), description="kinds asked for; none named takes those of the seed tasks")
    output_first: tuple[str, ...] = Field(("classify",), description="kinds whose output is written before the input")
    constrained: bool | None = Field(None, description="decode under a JSON schema; null: where the engine can")
    novelty: float = Field(0.7, gt=0, le=1, description="ROUGE-L to any task of the pool from which a task is no longer new")
    min_words: int = Field(3, ge=1, description="fewest words of a task")
    max_chars: int = Field(1000, ge=1, description="most characters of a task with its input")
    refused_words: tuple[str, ...] = Field(_REFUSED, description="words of what a text model cannot be given")

    @property
    def family(self) -> str:
        return self.name


def examples_of(tasks: Sequence[Row]) -> list[Row]:
    """Those of `tasks` (rows with `meta` as a dict) that can be shown: they say kind and instruction."""
    return [row for row in tasks if row["meta"].get("kind") and row["meta"].get("instruction")]


def asks(config: SelfInstructConfig, known: Known, seed: int, constrained: bool) -> list[Ask]:
    """The prompts of one wave, equal ones once. Raises ConfigError where no task can be shown."""
    people, made = examples_of(known.people), examples_of(known.made)
    if not people and not made:
        raise ConfigError(
            f"arm {config.name!r} has no example to show",
            'add [[tasks]] with source = "seeds", or tasks whose meta names a kind',
        )
    begin_alike, found = _overused(made), []
    for number, kind in enumerate(_kinds(config, people, made)):
        shown = _shown(config, people, made, kind, ids.derive_seed(seed, "shown", number))
        messages = _prompt(config, shown, kind, begin_alike, constrained)
        schema = form.schema(config.per_ask, kind in config.output_first) if constrained else None
        found.append(Ask(messages, kind, tuple(row["task_id"] for row in shown), schema=schema))
    return merged(found)


def read(config: SelfInstructConfig, known: Known, ask: Ask, rollout_id: str, text: str, cut: bool) -> list[Candidate]:
    """The candidates of one reply, at least one: a reply without a task is one malformed candidate."""
    drafts = form.read_json(text) if ask.schema is not None else form.read_plain(text)
    if not text.strip():
        return [Candidate(f"{rollout_id}/0", rollout_id, malformed="empty", parent_ids=ask.parent_ids)]
    if not drafts:
        reason = "cut" if cut else "no_json" if ask.schema is not None else "no_task"
        return [Candidate(f"{rollout_id}/0", rollout_id, malformed=reason, parent_ids=ask.parent_ids)]
    return [
        _candidate(config, ask, rollout_id, number, draft, torn)
        for number, (draft, torn) in enumerate(form.torn(drafts, cut, ask.schema))
    ]


def _candidate(config: SelfInstructConfig, ask: Ask, rollout_id: str, number: int, draft: Draft, cut: bool) -> Candidate:
    text = task_text(draft.instruction, draft.input)
    meta = {"kind": ask.kind, "instruction": draft.instruction, "input": draft.input, "output": draft.output}
    reason = "cut" if cut else fault(config, draft, text)
    return Candidate(
        f"{rollout_id}/{number}",
        rollout_id,
        text,
        malformed=reason,
        parent_ids=ask.parent_ids,
        problem_key=text_key(text) if text else None,
        meta=meta,
    )


def fault(config: SelfInstructConfig, draft: Draft, text: str) -> str | None:
    """What is wrong with a draft by its form alone, or null."""
    words = text.casefold().split()
    if not draft.instruction:
        return "no_task"
    if len(text) > config.max_chars:
        return "long"
    if len(form.words(text)) < config.min_words:
        return "short"
    if any(mark in text for mark in MARKUP):
        return "markup"
    if {word.strip(".,;:!?\"'()") for word in words} & set(config.refused_words):
        return "refused_word"
    if draft.input and draft.input.casefold() == (draft.output or "").casefold():
        return "output_is_input"
    return None


def _kinds(config: SelfInstructConfig, people: Sequence[Row], made: Sequence[Row]) -> list[str]:
    """One kind per prompt: each time the one of which the pool, with what is asked already, holds least."""
    counts = Counter(dict.fromkeys(config.kinds or sorted({row["meta"]["kind"] for row in people or made}), 0))
    counts.update(row["meta"]["kind"] for row in (*people, *made) if row["meta"]["kind"] in counts)
    chosen = []
    for _ in range(config.asks):
        kind = min(counts, key=lambda kind: (counts[kind], kind))
        counts[kind] += config.per_ask
        chosen.append(kind)
    return chosen


def _shown(config: SelfInstructConfig, people: Sequence[Row], made: Sequence[Row], kind: str, seed: int) -> list[Row]:
    """Examples by people and by a model, by hash; one of the kind asked for where there is one, and that last."""
    n_made = min(config.machine, len(made))
    n_people = min(max(config.human, 1 if not n_made else 0), len(people))
    shown = drawn(people, n_people, seed) + drawn(made, n_made, seed)
    same = [row for row in (*people, *made) if row["meta"]["kind"] == kind]
    if same and not any(row["meta"]["kind"] == kind for row in shown):
        shown = [*shown[1:], *drawn(same, 1, seed)]
    return sorted(shown, key=lambda row: (row["meta"]["kind"] == kind, ids.derive_seed(seed, "order", row["task_id"])))


def _overused(made: Sequence[Row]) -> list[str]:
    """Two-word beginnings that many accepted tasks share, most frequent first."""
    starts = Counter(" ".join(row["meta"]["instruction"].casefold().split()[:2]) for row in made)
    frequent = [(n, start) for start, n in starts.items() if n >= _REPEATED]
    return [start for _, start in sorted(frequent, key=lambda pair: (-pair[0], pair[1]))[:_NAMED]]


def _prompt(
    config: SelfInstructConfig, shown: Sequence[Row], kind: str, begin_alike: Sequence[str], constrained: bool
) -> tuple[dict[str, str], ...]:
    """The examples as turns, each asked for and written, since small models go on as a conversation went; then the asking."""
    write = form.as_json if constrained else form.as_plain
    turns = []
    for row in shown:
        draft = Draft(**{name: row["meta"].get(name) or "" for name in ("instruction", "input", "output")})
        turns.append(user(f'Write a new task of the kind "{row["meta"]["kind"]}".'))
        turns.append(assistant(write([draft], row["meta"]["kind"] in config.output_first)))
    tasks = "a new task" if config.per_ask == 1 else f"{config.per_ask} new tasks"
    lines = [f'Write {tasks} of the kind "{kind}", in the same form, on other subjects and in other words.']
    if kind in config.output_first:
        lines.append("Decide on the output first, then write an input that has it; let the outputs differ.")
    if begin_alike:
        lines.append(f"Do not begin with: {', '.join(begin_alike)}.")
    return (*turns, user(" ".join(lines)))
