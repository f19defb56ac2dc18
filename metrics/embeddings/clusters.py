"""Regions of meaning on a frozen map: how many a set fills, and the best it has in each. Refit the map and nothing compares.

The map is a spherical k-means (Dhillon & Modha, 2001) of reference rows, seeded and deterministic up to rounding. QD-score and
coverage are those of MAP-Elites (Mouret & Clune, 1504.04909) over cells = cluster × difficulty; inside a cell they see nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon import ids
from ratoon.errors import DataError, UsageError
from ratoon.metrics.embeddings.spectrum import unit_rows

VERSION = "1"
_ROUNDS = 25
Floats = NDArray[np.float64]


class Codebook(NamedTuple):
    """The frozen map: unit centres `[k, d]` and what they are called by."""

    centres: Floats
    fingerprint: str


class QD(NamedTuple):
    """Sum over cells of the best quality, the share of cells filled, and how many are."""

    score: float
    coverage: float
    filled: int


def fit_codebook(x: NDArray[Any], k: int = 100, *, seed: int = 0) -> Codebook:
    """A map of at most `k` regions, fewer where there are fewer rows."""
    rows = unit_rows(x)
    if k < 1:
        raise UsageError(f"a map of {k} regions is impossible", "at least 1")
    random = np.random.default_rng(seed)
    centres = _spread(rows, min(k, len(rows)), random)
    for _ in range(_ROUNDS):
        at = (rows @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, at, rows)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(lengths > 1e-12, sums / np.maximum(lengths, 1e-12), centres)
        if np.abs(moved - centres).max() < 1e-9:
            break
        centres = moved
    return codebook(centres)


def codebook(centres: NDArray[Any]) -> Codebook:
    """A map of given centres, as it is stored: float32."""
    kept = unit_rows(np.asarray(centres, np.float32))
    return Codebook(kept, ids.digest([VERSION, np.round(kept, 5).astype(np.float32).tolist()]))


def _spread(rows: Floats, k: int, random: np.random.Generator) -> Floats:
    """k-means++: each next centre is drawn by its squared distance from those before."""
    chosen = [int(random.integers(len(rows)))]
    far = np.maximum(1 - rows @ rows[chosen[0]], 0)
    for _ in range(k - 1):
        total = far.sum()
        chosen.append(int(random.choice(len(rows), p=far / total)) if total > 1e-12 else int(random.integers(len(rows))))
        far = np.minimum(far, np.maximum(1 - rows @ rows[chosen[-1]], 0))
    return rows[chosen]


def assign(x: NDArray[Any], book: Codebook) -> NDArray[np.int64]:
    """The region of each row."""
    rows = unit_rows(x, empty=True)
    if rows.shape[1] != book.centres.shape[1]:
        raise DataError(f"vectors of {rows.shape[1]} numbers on a map of {book.centres.shape[1]}", "embed with the map's model")
    return np.concatenate(
        [np.zeros(0, np.int64), *((rows[i : i + 8192] @ book.centres.T).argmax(1) for i in range(0, len(rows), 8192))]
    )


def effective_clusters(counts: NDArray[Any] | Sequence[int]) -> float | None:
    """e^H of how rows spread over labels or regions, 1 to their number, up = wider; None where there is no row.

    >>> round(effective_clusters([5, 5, 5, 0]), 6)
    3.0
    """
    filled = np.asarray(counts, np.float64)
    if (filled < 0).any() or not np.isfinite(filled).all():
        raise DataError("a count is negative or not finite", "count rows by label")
    filled = filled[filled > 0]
    if not len(filled):
        return None
    share = filled / filled.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def unseen_mass(counts: NDArray[Any] | Sequence[int]) -> float | None:
    """Good-Turing: the chance that the next row has a label not seen yet, f₁ / N."""
    filled = np.asarray(counts, np.float64)
    return float((filled == 1).sum() / filled.sum()) if filled.sum() else None


def chao1(counts: NDArray[Any] | Sequence[int]) -> float | None:
    """Chao's lower bound of the number of labels there are, S + f₁(f₁ - 1) / (2 (f₂ + 1))."""
    filled = np.asarray(counts, np.float64)
    once, twice = (filled == 1).sum(), (filled == 2).sum()
    return float((filled > 0).sum() + once * (once - 1) / (2 * (twice + 1))) if filled.sum() else None


def qd_score(cells: Sequence[int] | NDArray[Any], quality: Sequence[float] | NDArray[Any], n_cells: int, top: int = 1) -> QD:
    """The mean quality of each filled cell's best `top` rows, summed over cells; a row of unknown quality (NaN) fills nothing.

    Raises DataError on a cell outside `n_cells`, or columns of unlike length.
    """
    at, good = np.asarray(cells, np.int64), np.asarray(quality, np.float64)
    if at.shape != good.shape:
        raise DataError(f"{len(at)} cells beside {len(good)} qualities", "give one quality a row")
    if n_cells < 1 or top < 1 or (len(at) and not 0 <= at.min() <= at.max() < n_cells):
        raise DataError(f"cells reach beyond the {n_cells} of the grid", "freeze the grid, then count")
    known = ~np.isnan(good)
    if not known.any():
        return QD(0.0, 0.0, 0)
    at, good = at[known], good[known]
    order = np.lexsort((-good, at))
    at, good = at[order], good[order]
    starts = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1]]))
    best = [float(good[s : min(s + top, e)].mean()) for s, e in zip(starts, np.append(starts[1:], len(at)), strict=True)]
    return QD(float(sum(best)), len(best) / n_cells, len(best))
