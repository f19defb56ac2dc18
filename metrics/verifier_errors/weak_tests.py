"""Whether a task's tests tell wrong programs from its gold: the share of the gold's mutants that they let pass; runs no flow.

A mutant that passes is a wrong program, or one that does the same on every input: read it before you believe it. Published
test sets let a fifth of wrong programs pass (EvalPlus, arXiv 2305.01210).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifier_errors.error_rates import rate
from ratoon.metrics.verifiers import gold_reply
from ratoon.metrics.verifiers.formats.mutants import mutants
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import args_of

VERSION = "mutants-1"
SCORER = "mutants"
_VERIFIER = "code"


class Tested(NamedTuple):
    """A task, how many mutants of its gold were judged, and by name the programs of those that passed."""

    task_id: str
    judged: int
    passed: dict[str, str]

    @property
    def share(self) -> float | None:
        """Of its mutants that pass; None where none was judged."""
        return len(self.passed) / self.judged if self.judged else None


def tested(tasks: pa.Table, pool: VerifierPool, most_tasks: int, most: int, seed: int) -> list[Tested]:
    """The tasks of verifier `code`, at most `most_tasks` by hash, each with at most `most` mutants; worst first."""
    rows = tasks.filter(pc.equal(tasks["verifier"], _VERIFIER)).select(["task_id", "answer", "verifier_args"]).to_pylist()
    rows = sorted(rows, key=lambda row: ids.derive_seed(seed, SCORER, row["task_id"]))[: most_tasks if most else 0]
    asked = [
        (row["task_id"], name, program, Item(_VERIFIER, gold_reply(_VERIFIER, program, args), row["answer"], args))
        for row in rows
        if row["answer"] and (args := args_of(row["verifier_args"])) is not None
        for name, program in mutants(row["answer"], most, seed).items()
    ]
    found: dict[str, Tested] = {}
    for (task, name, program, _), verdict in zip(asked, pool.run([item for *_, item in asked]), strict=True):
        if verdict.status in ("pass", "fail"):
            before = found.get(task, Tested(task, 0, {}))
            passed = {name: program} if verdict.status == "pass" else {}
            found[task] = Tested(task, before.judged + 1, before.passed | passed)
    return sorted(found.values(), key=lambda one: (-(one.share or 0.0), one.task_id))


def share(found: Sequence[Tested]) -> Estimate | None:
    """Of all mutants of a set those that its tests let pass, with Wilson's interval over the tasks; None of nothing."""
    return rate(sum(len(one.passed) for one in found), sum(one.judged for one in found), len(found))


def measures(found: Sequence[Tested]) -> pa.Table:
    """Table `measures`: `mutants_passed` of the whole set; no row where no mutant was judged."""
    of_all = share(found)
    common = {"scope_kind": "verifier", "scope_id": _VERIFIER, "metric": "mutants_passed", "version": VERSION, "params": "{}"}
    return schema.from_rows("measures", [] if of_all is None else [common | of_all._asdict()])


def table(found: Sequence[Tested]) -> pa.Table:
    """Table `scores`: per task the share of mutants that pass, and which."""
    rows = [
        {"subject_kind": "task", "subject_id": one.task_id, "scorer": SCORER, "version": VERSION, "repeat": 0,
         "status": None, "value": one.share, "detail": json.dumps({"judged": one.judged, "passed": sorted(one.passed)})}
        for one in found
    ]  # fmt: skip
    return schema.from_rows("scores", rows)
