"""How numbers of rows go together, and how much of that is length alone: Spearman's, plain and with length taken out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ratoon.metrics.report import Correlations
from ratoon.metrics.stats.correlation import spearman

_LEAST = 20
Floats = NDArray[np.float64]


def correlations(columns: Mapping[str, Floats], length: str) -> Correlations | None:
    """Spearman's correlations of columns of one length (NaN: unknown), constant or nearly unknown ones left out.

    None where fewer than two columns are left.


    The partial correlation of a, b given length l is (r_ab − r_al r_bl) / √((1 − r_al²)(1 − r_bl²)), of Spearman's r.
    """
    mostly = {name: values for name, values in columns.items() if len(values) and np.isfinite(values).mean() > 0.5}
    if len(mostly) < 2:
        return None
    known = np.all([np.isfinite(values) for values in mostly.values()], axis=0)
    names = [name for name, values in mostly.items() if known.sum() >= _LEAST and np.ptp(values[known]) > 0]
    if len(names) < 2:
        return None
    raw = [[spearman(columns[a][known], columns[b][known]) for b in names] for a in names]
    if length not in names:
        return {"names": names, "raw": raw, "partial": [[None] * len(names) for _ in names], "n": int(known.sum())}
    at = names.index(length)
    partial = [[_partial(raw, i, j, at) for j in range(len(names))] for i in range(len(names))]
    return {"names": names, "raw": raw, "partial": partial, "n": int(known.sum())}


def _partial(raw: list[list[float | None]], i: int, j: int, at: int) -> float | None:
    if at in (i, j):
        return None
    ab, al, bl = raw[i][j], raw[i][at], raw[j][at]
    if ab is None or al is None or bl is None or min(1 - al**2, 1 - bl**2) < 1e-9:
        return None
    return round(float(np.clip((ab - al * bl) / np.sqrt((1 - al**2) * (1 - bl**2)), -1, 1)), 6)
