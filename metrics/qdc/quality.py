"""How good a population of rollouts is, in a few numbers: verified, corrected for the verifier's own errors, judged, linted.

The corrected rate is the headline (Rogan & Gladen, 1978): `(observed - fpr) / (tpr - fpr)` with rates measured on planted
answers. Consensus stays a number of its own and is never mixed into it. Knows no table of a run but `scores`-like columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import DataError
from ratoon.metrics.stats.calibration import rogan_gladen
from ratoon.metrics.stats.estimators import Estimate, Floats, bootstrap_statistic, cluster_sums, unanimous_rate
from ratoon.metrics.text.lint import COLUMNS, VERSION, echo, leaked, lint, refusal

__all__ = ["COLUMNS", "VERSION", "corrected_pass_rate", "echo", "judged", "leaked", "lint", "pass_rate", "refusal"]

_MANY = 2000  # clusters beyond which the interval is the normal one of a ratio, not a bootstrap
_DRAWS = 2000


def pass_rate(groups: pa.Table, clusters: Sequence[Hashable] | None = None, *, seed: int = 0) -> Estimate | None:
    """The share of valid rollouts that passed, resampled by cluster (problem key; a group alone where none is given).

    `groups` has n_valid and n_passed. None where nothing was judged; `n` is the number of clusters with a valid rollout.
    """
    _need(groups, ("n_valid", "n_passed"))
    valid = groups["n_valid"].combine_chunks().fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    passed = groups["n_passed"].combine_chunks().fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    some = valid > 0
    if not some.any():
        return None
    keys = None if clusters is None else [key for key, there in zip(clusters, some, strict=True) if there]
    return _ratio(np.column_stack([passed, valid])[some], keys, seed)


def corrected_pass_rate(observed: Estimate, fpr: Estimate, tpr: Estimate) -> Estimate:
    """The population's true pass rate behind the observed one; only for a population, never for one group.

    Raises DataError where the verifier tells right from wrong no better than chance.
    """
    return rogan_gladen(observed, fpr, tpr)


def judged(scores: pa.Table, *, seed: int = 0) -> Estimate | None:
    """The mean judged value of subjects, repeats of one subject averaged first; rows without a value are left out.

    `scores` has subject_id and value. None where nothing has a value; `n` is the number of subjects.
    """
    _need(scores, ("subject_id", "value"))
    rows = scores.filter(pc.is_valid(scores["value"])).select(["subject_id", "value"])
    rows = rows.filter(pc.is_finite(rows["value"]))
    if not rows.num_rows:
        return None
    means = rows.group_by("subject_id").aggregate([("value", "mean")]).sort_by("subject_id")["value_mean"].to_numpy()
    return _ratio(np.column_stack([means, np.ones(len(means))]), None, seed, rate=False)


def _ratio(columns: Floats, clusters: Sequence[Hashable] | None, seed: int, rate: bool = True) -> Estimate:
    """The sum of the first column divided by that of the second, with an interval over clusters."""
    sums = cluster_sums(columns, clusters)[:, :2]
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    if len(sums) > _MANY:
        error = float(np.sqrt(((sums[:, 0] - value * sums[:, 1]) ** 2).sum()) / sums[:, 1].sum())
        estimate = Estimate(value, value - 1.96 * error, value + 1.96 * error, len(sums))
    else:
        estimate = bootstrap_statistic(sums, _of_means, draws=_DRAWS, seed=seed)
    if not rate:
        return estimate
    estimate = estimate._replace(lo=max(0.0, estimate.lo), hi=min(1.0, estimate.hi))
    return unanimous_rate(estimate, len(sums))


def _of_means(means: Floats) -> Floats:
    return means[:, 0] / means[:, 1]


def _need(table: pa.Table, columns: Sequence[str]) -> None:
    if absent := [name for name in columns if name not in table.column_names]:
        raise DataError(f"columns {absent} are missing", f"the table has {table.column_names}")
