"""How two columns of numbers go together: the rank correlation. Knows no table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import Floats


def spearman(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> float | None:
    """The rank correlation of two columns, ties at their mean rank: a score that follows length says little else.

    Pairs with a NaN are left out; None where fewer than two are left or a side does not vary.

    >>> spearman([1, 2, 3, 4], [10, 30, 20, 40])
    0.8
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        raise DataError(f"{x.shape} beside {y.shape} values", "give two columns of one length")
    both = np.isfinite(x) & np.isfinite(y)
    left, right = _ranks(x[both]), _ranks(y[both])
    if len(left) < 2 or not left.std() or not right.std():
        return None
    return round(float(np.corrcoef(left, right)[0, 1]), 12)


def _ranks(values: Floats) -> Floats:
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[at]
