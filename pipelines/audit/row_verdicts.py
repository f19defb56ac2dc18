"""A check of the verdicts of a side: pass rates, agreement, and verdicts that contradict each other or the gold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.qdc import tiers
from ratoon.metrics.report import answers
from ratoon.metrics.report import frame as frames
from ratoon.metrics.report import pass_vs_agreement as passes
from ratoon.metrics.stats.calibration import ece
from ratoon.metrics.stats.measures import Measure
from ratoon.pipelines.audit.check import VERSION, Check, gap, joined, share
from ratoon.pipelines.recipe.sections import AuditConfig

_FLAGS = ("corner", "conflict", "against_gold")
_SURE_GROUPS = 100  # groups from which the calibration of votes is told


def verdicts(rows: pa.Table, config: AuditConfig) -> Check:
    """Flags `corner`, `conflict` and `against_gold`, and the numbers of groups; a gap where no row is judged."""
    unknown = Check({name: pa.nulls(rows.num_rows, pa.bool_()) for name in _FLAGS})
    if not frames.judged(rows):
        mend = "map one: --column COLUMN=label"
        why = "no column says whether a row is right"
        return unknown._replace(gaps=[gap("pass rates, verifier checks", why, mend)])
    passed = numbers(rows["passed"])
    return joined([unknown, _groups(rows, config), _one_verdict(passed), _contradictions(rows, passed, config)])


def _one_verdict(passed: NDArray[np.float64]) -> Check:
    """A gap where all judged rows passed, or all failed: nothing sets right rows apart from wrong ones."""
    judged = passed[~np.isnan(passed)]
    if not len(judged) or np.ptp(judged) != 0:
        return Check()
    why = f"every judged row {'passed' if judged[0] else 'failed'}"
    mend = "audit all rollouts, not only those that were kept"
    return Check(gaps=[gap("what sets right rows apart from wrong ones", why, mend)])


def _contradictions(rows: pa.Table, passed: NDArray[np.float64], config: AuditConfig) -> Check:
    """Like answers of a task with unlike verdicts, and verdicts that a comparison with the gold contradicts."""
    if rows["answer"].null_count == rows.num_rows or np.isnan(passed).all():
        return Check()
    conflicts = answers.conflicts(rows)
    unknown = np.isnan(passed) | np.asarray(pc.is_null(rows["answer"]))
    flags: dict[str, Any] = {"conflict": pa.array(conflicts, mask=unknown)}
    measures: list[Measure] = []
    if (numbers(rows["group_n"]) > 1).any():
        measures += share("quality.conflicts", np.where(unknown, np.nan, conflicts.astype(float)), "verdicts")
    if rows.num_rows <= config.matched:
        gold = answers.against_gold(rows)
        flags["against_gold"] = pa.array(gold == 1, mask=np.isnan(gold))
        measures += share("quality.against_gold", gold, "verdicts")
    return Check(flags, measures)


def _groups(rows: pa.Table, config: AuditConfig) -> Check:
    """The numbers of tasks with their rows, and rows in the corner of many passes and little agreement."""
    groups = passes.groups(rows)
    several = numbers(groups["group_n"]) >= 2
    gaps = []
    if not several.any():
        mend = "map the task: --column COLUMN=task_id"
        gaps.append(gap("agreement, learnability", "no task has two judged rows", mend))
    measured = Check(numbers=_measured(groups, several, config), gaps=gaps)
    return joined([measured, _corner(rows, groups, config)])


def _measured(groups: pa.Table, several: NDArray[np.bool_], config: AuditConfig) -> list[Measure]:
    """The tier's numbers of groups; of pass rates alone where no group has two rows."""
    n, rates = numbers(groups["group_n"]), numbers(groups["pass_rate"])
    table = pa.table(
        {
            "n_valid": pa.array(np.nan_to_num(n).astype(np.int64)),
            "pass_rate": groups["pass_rate"],
            "n_passed": pa.array(np.round(np.nan_to_num(n * rates)).astype(np.int64)),
            "vote_share": groups["vote_share"],
            "vote_margin": pa.nulls(len(n), pa.float64()),
            "entropy": pa.nulls(len(n), pa.float64()),
            "task_id": groups["task_id"],
        }
    )
    table = table.filter(pa.array(several)) if several.any() else table
    measures = tiers.groups(table, table["task_id"].to_pylist(), None, None, config.seed)
    if not several.any():
        measures = [m for m in measures if m.metric == "quality.pass_rate"]
    return _of_tasks(measures)


def _of_tasks(measures: Sequence[Measure]) -> list[Measure]:
    """The shares of tasks that all rows solve or none does say that their unit is a task."""
    return [
        Measure(m.metric, m.version, m.value, m.n, m.lo, m.hi, params=m.params, note={"unit": "tasks"})
        if m.metric in ("quality.all_right", "quality.all_wrong")
        else m
        for m in measures
    ]


def _corner(rows: pa.Table, groups: pa.Table, config: AuditConfig) -> Check:
    limits = config.limits
    shares = numbers(groups["vote_share"])
    voted = ~np.isnan(shares) & (numbers(groups["group_n"]) >= limits.corner_rows)
    if not voted.any():
        return Check()
    corner = passes.in_corner(groups, limits.corner_share, limits.corner_rows)
    measures = share("consensus.corner", np.where(voted, corner.astype(float), np.nan), "groups")
    if "consensus" in pc.unique(rows["label_source"]).to_pylist() and voted.sum() >= _SURE_GROUPS:
        right = numbers(groups["pass_rate"])[voted] >= 0.5
        measures.append(Measure("consensus.ece", VERSION, ece(shares[voted], right), int(voted.sum())))
    return Check({"corner": pa.array(passes.in_corner(rows, limits.corner_share, limits.corner_rows))}, measures)
