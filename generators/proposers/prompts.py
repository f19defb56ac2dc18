"""What proposers share: a prompt to one, what they are told of the tasks there are, and how a candidate becomes a task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ratoon import ids
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.tasks.task_rows import task_row
from ratoon.messages import user, user_text

Row = Mapping[str, Any]
MARKUP = ("<|", "|>", "[INST]", "</s>", "\ufffd")
_COLUMNS = ("task_id", "problem_key", "family", "messages", "parent_ids")


@dataclass(frozen=True)
class Ask:
    """One prompt to a proposer: the messages, the kind asked for, the tasks it shows or stands on, how often it is asked.

    `task_id` is the task a rewriter is given, `extra` what the reading of the reply needs.
    """

    messages: tuple[Mapping[str, str], ...]
    kind: str
    parent_ids: tuple[str, ...] = ()
    n: int = 1
    schema: str | None = None
    task_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """By which a prompt is known again: what it says, and of which task."""
        return key_of(self.messages, self.task_id)


@dataclass(frozen=True)
class Known:
    """Training tasks that were there before, by people and by models, what a proposer loaded from elsewhere, and by task the
    votes that earlier rounds accepted."""

    people: Sequence[Row] = ()
    made: Sequence[Row] = ()
    material: Any = None
    votes: Mapping[str, str] = field(default_factory=dict)


def key_of(messages: Sequence[Mapping[str, str]], task_id: str | None) -> str:
    """A prompt's key, from what table `prompts` keeps of it."""
    return ids.digest([task_id, [[m["role"], m["content"]] for m in messages]])


def rows_of(tasks: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of table `tasks` with `meta` as a dict, in id order."""
    plain = [{name: row[name] for name in _COLUMNS} | {"meta": json.loads(row["meta"] or "{}")} for row in tasks]
    return sorted(plain, key=lambda row: row["task_id"])


def asked_text(row: Row) -> str:
    """What novelty compares of a task: what sets it apart from others of its form, else all that the user says."""
    return row["meta"].get("asked") or said(row)


def said(row: Row) -> str:
    """All that the user says in a task."""
    return user_text(row["messages"]) or ""


def merged(found: Sequence[Ask]) -> list[Ask]:
    """Equal prompts once, asked as often as they came."""
    times: dict[str, list[Ask]] = {}
    for ask in found:
        times.setdefault(ask.key, []).append(ask)
    return [
        Ask(first.messages, first.kind, first.parent_ids, sum(a.n for a in same), first.schema, first.task_id, first.extra)
        for same in times.values()
        for first in same[:1]
    ]


def drawn(rows: Sequence[Row], n: int, seed: int) -> list[Row]:
    """`n` rows by hash of their ids: whatever the order they come in."""
    return sorted(rows, key=lambda row: (ids.derive_seed(seed, "drawn", row["task_id"]), row["task_id"]))[:n]


def task_of(candidate: Candidate, method: str, family: str, iteration: int) -> dict[str, Any]:
    """The row of an accepted candidate: a training task without gold and without verifier, for ever."""
    asked = {} if candidate.message is None else {"asked": candidate.text}
    return task_row(
        source=method, family=family, messages=[user(candidate.message or candidate.text)],
        problem_key=candidate.problem_key or "", answer=None, verifier=None, verifier_args={}, split="train",
        parent_ids=candidate.parent_ids, iteration=iteration,
        meta={**candidate.meta, **asked, "rollout_id": candidate.rollout_id},
    )  # fmt: skip
