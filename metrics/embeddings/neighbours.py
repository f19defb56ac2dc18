"""How near each row's nearest neighbour lies, within a set and against what came before; exact, in blocks.

A share of rows beyond one cut moves the wrong way when a set collapses onto paraphrases (copies leave the cut's far side as
they come nearer), so the whole curve is given. Nearest-neighbour distances shrink as n grows: compare at equal n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import DataError
from ratoon.metrics.embeddings.spectrum import unit_rows

VERSION = "1"
CUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BLOCK = 2048
Floats = NDArray[np.float64]


def nearest(x: NDArray[Any], other: NDArray[Any] | None = None, k: int = 1) -> Floats:
    """The cosine of each row to its `k`-th nearest in `other`, or among the other rows of `x`; NaN where there are fewer."""
    rows = unit_rows(x, empty=True).astype(np.float32)
    base = rows if other is None else unit_rows(other, empty=True).astype(np.float32)
    if rows.shape[1] != base.shape[1]:
        raise DataError(f"vectors of {rows.shape[1]} beside {base.shape[1]} numbers", "embed both with one model")
    best = np.full((len(rows), k), -np.inf, np.float32)
    for i in range(0, len(rows), _BLOCK):
        for j in range(0, len(base), _BLOCK):
            cosine = rows[i : i + _BLOCK] @ base[j : j + _BLOCK].T
            if other is None and i == j:
                np.fill_diagonal(cosine, -np.inf)
            both = np.concatenate([best[i : i + _BLOCK], cosine], 1)
            best[i : i + _BLOCK] = both.max(1, keepdims=True) if k == 1 else -np.partition(-both, k - 1, 1)[:, :k]
    found = best.min(1).astype(np.float64)
    return np.where(np.isfinite(found), np.clip(found, -1, 1), np.nan)


def neighbour_curve(
    x: NDArray[Any], cuts: Sequence[float] = CUTS, other: NDArray[Any] | None = None
) -> list[tuple[float, float | None]]:
    """For each cut the share of rows whose nearest neighbour is at least that similar; None where no row has a neighbour."""
    found = nearest(x, other)
    found = found[~np.isnan(found)]
    return [(cut, float((found >= cut - 1e-6).mean()) if len(found) else None) for cut in cuts]


def novelty(x: NDArray[Any], history: NDArray[Any]) -> Floats:
    """1 - the cosine to the nearest row of all that came before, per row; NaN where nothing came before."""
    return 1 - nearest(x, history)


def knn_distance(x: NDArray[Any], k: int = 5) -> float | None:
    """The mean cosine distance (1 - cos) to the k-th neighbour; None where no row has k."""
    found = nearest(x, k=k)
    return None if np.isnan(found).all() or len(found) <= k else float(1 - np.nanmean(found))
