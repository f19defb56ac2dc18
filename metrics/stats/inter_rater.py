"""Whether those who judge agree: raw agreement and Krippendorff's alpha; pure numbers, knows no judge.

alpha = 1 - observed disagreement / disagreement expected by chance, over the pairs of ratings of one unit (Krippendorff,
Content Analysis, ch. 12). Any number of ratings a unit; a unit with fewer than two says nothing. Where nearly all ratings are
one value, chance alone agrees as much, and alpha falls to 0 beside a high raw agreement: print both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ratoon.errors import UsageError
from ratoon.metrics.stats.estimators import Floats

Level = Literal["nominal", "ordinal", "interval"]


class Agreement(NamedTuple):
    """`alpha` is None where nothing varies; `raw` is the share of equal pairs, the mean over units."""

    raw: float
    alpha: float | None
    units: int
    ratings: int


def agreement(units: Sequence[Sequence[float | None]], level: Level = "nominal") -> Agreement | None:
    """The agreement of the ratings of each unit; None is no rating. Returns None where no unit was rated twice.

    >>> agreement([[1, 1], [2, 2], [3, 3], [1, 2]]).raw
    0.75
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise UsageError(f"level {level!r} is unknown", "nominal, ordinal or interval")
    rated = [kept for unit in units if len(kept := [float(v) for v in unit if v is not None]) > 1]
    if not rated:
        return None
    values = np.unique([v for unit in rated for v in unit])
    together = _coincidences(rated, values)
    raw = float(np.mean([_equal_pairs(unit) for unit in rated]))
    return Agreement(raw, _alpha(together, values, level), len(rated), sum(map(len, rated)))


def _coincidences(units: Sequence[Sequence[float]], values: Floats) -> Floats:
    """How often two ratings of one unit are this and that value, each unit weighing as many as it has ratings."""
    together = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.bincount(np.searchsorted(values, unit), minlength=len(values)).astype(np.float64)
        together += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return together


def _alpha(together: Floats, values: Floats, level: Level) -> float | None:
    totals = together.sum(0)
    distance = _distance(totals, values, level)
    expected = float((np.outer(totals, totals) * distance).sum()) / (totals.sum() - 1)
    return None if expected == 0 else 1.0 - float((together * distance).sum()) / expected


def _distance(totals: Floats, values: Floats, level: Level) -> Floats:
    """Squared distances of the values: equal or not, by their ranks, or as numbers."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    at = np.cumsum(totals) - totals / 2 if level == "ordinal" else values
    return np.asarray((at[:, None] - at[None, :]) ** 2)


def _equal_pairs(unit: Sequence[float]) -> float:
    counts = np.unique(unit, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(unit) * (len(unit) - 1)))
