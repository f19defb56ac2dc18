"""How good one policy is on one suite, as rows of table `evals`; knows no engine and chooses nothing.

A task's outcome is the share of its valid samples (pass or fail); cut by length counts as fail. Intervals resample problem
keys with all their tasks and samples; where every task agrees (all 0 or all 1) a rate has Wilson's, as if each key were one
trial, because resampling what does not differ would claim certainty. Where too many samples could not be judged the
evaluation is void: its rates are null, and a row says so; a comparison is null where either side is void.

| metric | value |
|---|---|
| `pass@1`, `pass@1/<family>` | mean over tasks of passed / valid |
| `finished_share` | mean over tasks of samples not cut by length |
| `pass@1_finished` | `pass@1` / `finished_share`: the rate among finished replies |
| `pass@k`, `maj@k` | unbiased, over tasks with at least k valid samples; k = 2, 4, 8 … and n |
| `unparsed_share`, `error_share`, `abstain_share` | of valid samples, of all samples, of all samples |
| `pass@1_diff` | paired with `against_policy_id` on the tasks both were asked |
| `gain_finishing`, `gain_accuracy` | the two parts of that difference (`metrics/evaluation/gain.py`) |
| `void` | the share that could not be judged, only where it is above the limit |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ratoon import schema
from ratoon.metrics.evaluation import gain
from ratoon.metrics.evaluation.outcomes import RIGHT, Outcome, Outcomes, outcomes
from ratoon.metrics.stats.estimators import (
    Estimate,
    Floats,
    bootstrap,
    bootstrap_statistic,
    maj_at_k,
    paired_bootstrap,
    pass_at_k,
    unanimous_rate,
)

MAX_UNJUDGED = 0.02
_BLANK = {"value": None, "lo": None, "hi": None}


def evaluate(
    rollouts: pa.Table,
    scores: pa.Table,
    tasks: pa.Table,
    *,
    policy_id: str,
    iteration: int,
    suite: str,
    sampling_id: str | None,
    against: Mapping[str, Outcomes] | None = None,
    planned: int | None = None,
    planned_against: Mapping[str, int] | None = None,
    max_unjudged: float = MAX_UNJUDGED,
    draws: int = 10_000,
    seed: int = 0,
) -> pa.Table:
    """Table `evals` of one policy on one suite; `against` maps other policies' ids to their `outcomes` on the same tasks.

    `planned` samples that never became rollouts count as errors; `planned_against` are those of the other policies. Raises
    DataError when the policy has no rollout here.
    """
    mine = outcomes(rollouts, scores, tasks, policy_id=policy_id, sampling_id=sampling_id)
    rates = measure(mine, draws=draws, seed=seed)
    for other, theirs in (against or {}).items():
        void = _shares(list(theirs.values()), (planned_against or {}).get(other))[1] > max_unjudged
        rows = compare(mine, theirs, other, draws=draws, seed=seed)
        rates += [row | _BLANK for row in rows] if void else rows
    shares, unjudged = _shares(list(mine.values()), planned)
    measured = shares + (rates if unjudged <= max_unjudged else _void(rates, unjudged, shares[0]))
    fixed = {"iteration": iteration, "policy_id": policy_id, "suite": suite, "sampling_id": sampling_id}
    return schema.from_rows("evals", [fixed | row for row in measured])


def measure(mine: Outcomes, *, draws: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """The rows of one policy by itself: metric, value, lo, hi, n_tasks, n_samples."""
    tasks = [o for o in mine.values() if o.valid]
    rates = np.array([(o.pass_share, o.finished_share, o.unparsed / o.valid) for o in tasks]).reshape(-1, 3)

    def row(metric: str, among: Sequence[Outcome], statistic: Callable[[Floats], Floats], columns: Floats) -> dict[str, Any]:
        clusters = [o.problem_key for o in among]
        found = bootstrap_statistic(columns, statistic, clusters=clusters, draws=draws, seed=seed) if among else None
        trials = {o.problem_key for o in among if o.finished or statistic is not _among_finished}
        return _row(metric, found and unanimous_rate(found, len(trials)), among)

    rows = [row("pass@1", tasks, _mean(0), rates), row("finished_share", tasks, _mean(1), rates)]
    rows += [row("pass@1_finished", tasks, _among_finished, rates), row("unparsed_share", tasks, _mean(2), rates)]
    for family in sorted({o.family for o in tasks if o.family is not None}):
        at = [i for i, o in enumerate(tasks) if o.family == family]
        rows.append(row(f"pass@1/{family}", [tasks[i] for i in at], _mean(0), rates[at]))
    for k in _ks(max((o.valid for o in tasks), default=0)):
        among = [o for o in tasks if o.valid >= k]
        for metric, value in (
            ("pass", lambda o, k=k: pass_at_k(o.valid, o.passed, k)),
            ("maj", lambda o, k=k: maj_at_k(o.votes, RIGHT, k)),
        ):
            rows.append(row(f"{metric}@{k}", among, _mean(0), np.array([[value(o)] for o in among])))
    return rows


def _mean(column: int) -> Callable[[Floats], Floats]:
    return lambda means: means[:, column]


def _among_finished(means: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return means[:, 0] / means[:, 1]


def _ks(n: int) -> list[int]:
    """2, 4, 8 … and n itself."""
    powers = [2**i for i in range(1, max(n, 1).bit_length()) if 2**i <= n]
    return powers if n < 2 or n in powers else [*powers, n]


def _row(metric: str, found: Estimate | None, among: Sequence[Outcome], against: str | None = None) -> dict[str, Any]:
    return {
        "metric": metric, "against_policy_id": against,
        "value": _known(found and found.value), "lo": _known(found and found.lo), "hi": _known(found and found.hi),
        "n_tasks": len(among), "n_samples": sum(o.valid for o in among),
    }  # fmt: skip


def _known(value: float | None) -> float | None:
    # Rounded, because the last bits of a matrix product are the machine's and evals are in content digests.
    return None if value is None or math.isnan(value) else round(value, 12)


def _shares(tasks: Sequence[Outcome], planned: int | None) -> tuple[list[dict[str, Any]], float]:
    """What could not be judged, of every sample, and the sum of it."""
    sampled, valid = sum(o.samples for o in tasks), sum(o.valid for o in tasks)
    samples = max(sampled, planned or 0)
    errors = sum(o.errors for o in tasks) + samples - sampled
    counted = {"n_tasks": len(tasks), "n_samples": samples}
    abstained = samples - errors - valid
    rows = [counted | {"metric": m, "value": n / samples} for m, n in (("error_share", errors), ("abstain_share", abstained))]
    return rows, (errors + abstained) / samples


def compare(mine: Outcomes, theirs: Outcomes, other: str, *, draws: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """The rows of a paired comparison on the tasks that both were asked and judged on: mine - theirs."""
    pairs = [(o, theirs[t]) for t, o in mine.items() if o.valid and t in theirs and theirs[t].valid]
    among = [o for o, _ in pairs]
    if not pairs:
        return [_row(metric, None, [], other) for metric in ("pass@1_diff", "gain_finishing", "gain_accuracy")]
    passed, before = [a.pass_share for a, _ in pairs], [b.pass_share for _, b in pairs]
    finished, finished_before = [a.finished_share for a, _ in pairs], [b.finished_share for _, b in pairs]
    keys = [o.problem_key for o in among]
    difference = paired_bootstrap(passed, before, clusters=keys, draws=draws, seed=seed)
    parts = gain.decompose(passed, finished, before, finished_before, clusters=keys, draws=draws, seed=seed)
    found = {"pass@1_diff": Estimate(*difference), "gain_finishing": parts.finishing, "gain_accuracy": parts.accuracy}
    return [_row(metric, estimate, among, other) for metric, estimate in found.items()]


def _void(rates: list[dict[str, Any]], unjudged: float, counted: dict[str, Any]) -> list[dict[str, Any]]:
    """The rates without their values, and one row that says why."""
    return [*(row | _BLANK for row in rates), counted | {"metric": "void", "value": unjudged}]


def pooled(differences: Sequence[tuple[Outcomes, Outcomes]], *, draws: int = 10_000, seed: int = 0) -> Estimate:
    """The paired gain over several seeds at once: a problem's tasks of every seed are resampled together."""
    values, keys = [], []
    for mine, theirs in differences:
        for task, o in mine.items():
            if o.valid and task in theirs and theirs[task].valid:
                values.append(o.pass_share - theirs[task].pass_share)
                keys.append(o.problem_key)
    return bootstrap(values, clusters=keys, draws=draws, seed=seed)
