"""What one policy made of each task of a suite: sample counts and votes; knows no interval and no other policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import DataError
from ratoon.metrics.verifiers.verdict import is_unparsed

RIGHT = ("right",)
"""The vote of every right answer, whatever its form; no canonical answer equals it."""


class Outcome(NamedTuple):
    """One task under one policy: sample counts, and one vote per valid sample (None where there is no answer)."""

    task_id: str
    problem_key: str
    family: str | None
    samples: int
    valid: int
    passed: int
    finished: int
    unparsed: int
    errors: int
    votes: tuple[object, ...]

    @property
    def pass_share(self) -> float:
        return self.passed / self.valid

    @property
    def finished_share(self) -> float:
        return self.finished / self.valid


Outcomes = Mapping[str, Outcome]


def outcomes(
    rollouts: pa.Table, scores: pa.Table, tasks: pa.Table, *, policy_id: str, sampling_id: str | None = None
) -> Outcomes:
    """Per task of `tasks` what `policy_id` (under `sampling_id`, if given) made of it; other rollouts are left alone.

    A rollout without a score, or with an error, is an error. Raises DataError when no rollout is left.
    """
    mask = pc.equal(rollouts["policy_id"], policy_id)
    if sampling_id is not None:
        mask = pc.and_(mask, pc.equal(rollouts["sampling_id"], sampling_id))
    mine = rollouts.filter(pc.and_(mask, pc.is_in(rollouts["task_id"], value_set=tasks["task_id"].combine_chunks())))
    if not mine.num_rows:
        raise DataError(f"no rollout of policy {policy_id} on these {tasks.num_rows} tasks", "evaluate what was sampled")
    verdicts = _verdicts(scores)
    samples: dict[str, list[tuple[Any, ...]]] = {}
    for id, task, reason in zip(*(mine[c].to_pylist() for c in ("rollout_id", "task_id", "finish_reason")), strict=True):
        samples.setdefault(task, []).append((reason, *verdicts.get(id, ("error", None, None))))
    columns = zip(*(tasks[c].to_pylist() for c in ("task_id", "problem_key", "family")), strict=True)
    return {t: _outcome(t, key or t, family, samples[t]) for t, key, family in columns if t in samples}


def _verdicts(scores: pa.Table) -> dict[str, tuple[str, str | None, str | None]]:
    rows = scores.filter(pc.equal(scores["subject_kind"], "rollout")).select(["subject_id", "status", "answer", "detail"])
    return {id: (s, a, d) for id, s, a, d in zip(*(column.to_pylist() for column in rows.columns), strict=True)}


def _outcome(task: str, key: str, family: str | None, samples: Sequence[tuple[Any, ...]]) -> Outcome:
    valid = [s for s in samples if s[1] in ("pass", "fail")]
    return Outcome(
        task, key, family, len(samples), len(valid),
        passed=sum(s[1] == "pass" for s in valid),
        finished=sum(s[0] != "length" for s in valid),
        unparsed=sum(is_unparsed(s[3]) for s in valid),
        errors=sum(s[1] == "error" for s in samples),
        # Every right answer is one class, whatever its form; what stood in a cut reply is no vote.
        votes=tuple(RIGHT if s[1] == "pass" else None if s[0] == "length" else s[2] for s in valid),
    )  # fmt: skip
