"""What a task source hands back, and how one row of `tasks` is made; knows no source.

A source gives rows without a split unless it fixes one itself. What it cannot use is a row of `failures`, what it leaves
out on purpose (repeats) is counted in `dropped`, so that planned = out + dropped + failed holds for it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ratoon import ids, schema
from ratoon.messages import compact
from ratoon.text import normalise

SPLITS = ("train", "probe", "eval")


@dataclass(frozen=True, eq=False)
class Proposal:
    """Tables `tasks`, `oracles` and `failures` of one source, how many repeats it left out, and how its files were read."""

    tasks: pa.Table
    oracles: pa.Table
    failures: pa.Table = field(default_factory=lambda: schema.empty("failures"))
    dropped: int = 0
    told: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        return self.tasks.num_rows + self.failures.num_rows + self.dropped


def text_key(text: str) -> str:
    """The problem key of a text: the text normalised, or its digest where it is long."""
    key = normalise(text)
    return key if len(key) <= 200 else f"text:{ids.digest(key)}"


def task_row(
    *,
    source: str,
    family: str,
    messages: Sequence[Mapping[str, Any]],
    problem_key: str,
    answer: str | None,
    verifier: str | None,
    verifier_args: Mapping[str, Any],
    level: str | None = None,
    split: str | None = None,
    parent_ids: Sequence[str] | None = None,
    iteration: int = 0,
    seed: int | None = None,
    meta: Mapping[str, Any] | None = None,
    tools: str | None = None,
) -> dict[str, Any]:
    """A row of `tasks`, its id computed; `verifier_args` and `meta` become canonical JSON. Raises ValueError on NaN."""
    plain = compact(messages)
    args = json.loads(ids.canonical_json(dict(verifier_args)))
    return {
        "task_id": ids.task_id(plain, answer, verifier, args, tools),
        "problem_key": problem_key,
        "source": source,
        "family": family,
        "level": level,
        "messages": plain,
        "tools": tools,
        "answer": answer,
        "verifier": verifier,
        "verifier_args": ids.canonical_json(args),
        "split": split,
        "parent_ids": None if parent_ids is None else list(parent_ids),
        "iteration": iteration,
        "seed": seed,
        "meta": None if meta is None else ids.canonical_json(dict(meta)),
    }


def oracle_row(task: Mapping[str, Any], truth: str) -> dict[str, str]:
    """A row of `oracles`: the truth that no verifier, filter or trainer may see."""
    return {"task_id": task["task_id"], "oracle": truth}


def failure_row(subject: str, error_class: str, message: str) -> dict[str, Any]:
    """A row of `failures` for something a source could not use; `subject` says where it stood."""
    return {"stage": "tasks", "subject_id": subject, "attempt": 0, "error_class": error_class, "message": message[:500]}


def proposal(
    tasks: Iterable[Mapping[str, Any]],
    oracles: Iterable[Mapping[str, Any]] = (),
    failures: Iterable[Mapping[str, Any]] = (),
    dropped: int = 0,
    told: Sequence[str] = (),
) -> Proposal:
    """Rows as a Proposal; a task that comes again (same id) is dropped and counted, and so is its oracle."""
    rows = list(tasks)
    first = {row["task_id"]: row for row in reversed(rows)}
    once = list(reversed(first.values()))
    truths = {row["task_id"]: row for row in oracles}
    return Proposal(
        schema.from_rows("tasks", once),
        schema.from_rows("oracles", truths.values()),
        schema.from_rows("failures", failures),
        dropped + len(rows) - len(once),
        tuple(told),
    )
