"""Where a gain comes from: fewer replies cut by length, or more right ones among the finished; knows no table.

A reply passes only when it finished, so pass = finished × right-given-finished, exactly. The difference of two such
products is split symmetrically (Shapley over two factors): Δpass = Δfinished · mean(right) + Δright · mean(finished). The
parts sum to the whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ratoon.metrics.stats.estimators import Estimate, Floats, bootstrap_statistic


class Gain(NamedTuple):
    """A paired gain in pass@1 and its two parts, each with its interval over resampled clusters."""

    total: Estimate
    finishing: Estimate
    accuracy: Estimate


def decompose(
    passed: Sequence[float],
    finished: Sequence[float],
    passed_before: Sequence[float],
    finished_before: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Gain:
    """Split mean(passed) - mean(passed_before) over the same tasks; each value is a task's share of its valid samples.

    `finishing` is the part from more finished replies, `accuracy` the part from more right ones among the finished.
    """
    columns = np.column_stack([np.asarray(c, dtype=np.float64) for c in (passed, finished, passed_before, finished_before)])
    total, finishing, accuracy = (
        bootstrap_statistic(columns, part, clusters=clusters, draws=draws, seed=seed)
        for part in (_total, _finishing, _accuracy)
    )
    return Gain(total, finishing, accuracy)


def _total(means: Floats) -> Floats:
    return means[:, 0] - means[:, 2]


def _finishing(means: Floats) -> Floats:
    now, before = _right(means)
    return (means[:, 1] - means[:, 3]) * (now + before) / 2


def _accuracy(means: Floats) -> Floats:
    now, before = _right(means)
    return (now - before) * (means[:, 1] + means[:, 3]) / 2


def _right(means: Floats) -> tuple[Floats, Floats]:
    """Right-given-finished now and before; where nothing finished it is unknown, and taken as the other one's."""
    with np.errstate(divide="ignore", invalid="ignore"):
        now, before = means[:, 0] / means[:, 1], means[:, 2] / means[:, 3]
    now = np.where(means[:, 1] > 0, now, np.where(means[:, 3] > 0, before, 0.0))
    return now, np.where(means[:, 3] > 0, before, now)
