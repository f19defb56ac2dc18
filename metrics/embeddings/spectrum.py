"""Diversity from the spectrum of similarities: Vendi scores, RKE, their exact merge, and the split within and between groups.

Rows are vectors; they are scaled to unit length, so similarity is the cosine. Vendi (Friedman & Dieng, 2210.02410) is the
exponential of the entropy of the eigenvalues of K/n; order q generalises it (Pasarkar & Dieng, 2310.12952). With the linear
kernel only the sum of x xᵀ counts, so any union of shards is scored from their sums (`gram`), to rounding. RKE is order 2
(Jalali et al., 2306.01471). What they cannot see: a linear score never exceeds the width of the vectors, so it tells change,
not size; plain Vendi grows with n, so compare at equal n; no such score is monotone (2410.14556): adding variety to one pair
can lower it. With 384 numbers a row use the linear kernel for change and RBF of order 2, which hardly grows with n, for detail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import DataError, UsageError
from ratoon.metrics.stats.estimators import Estimate, within

VERSION = "1"
Kernel = Literal["linear", "rbf"]
Floats = NDArray[np.float64]
SIGMA = 0.7
_DENSE = 6000  # rows up to which a similarity matrix is made whole
_BLOCK = 2048
_SIZES = tuple(lead * 10**tens for tens in range(7) for lead in (1, 2, 5))


def vendi_score(x: NDArray[Any], q: float = 1.0, kernel: Kernel = "linear", sigma: float = SIGMA) -> float:
    """The effective number of unlike rows of `x` `[n, d]`, 1 to n; order `q` from 0 to infinity, q = 1 Shannon.

    RBF is `exp(-‖x - y‖² / 2σ²)`. Raises DataError on no rows, zero or non-finite rows, too many rows for a dense kernel,
    UsageError on an impossible q or σ.

    >>> round(vendi_score(np.eye(4)), 6), round(vendi_score(np.ones((4, 3))), 6)
    (4.0, 1.0)
    """
    rows = unit_rows(x)
    if kernel == "rbf":
        if q == 2:
            return rke(rows, kernel="rbf", sigma=sigma)
        if len(rows) > _DENSE:
            raise DataError(
                f"{len(rows)} rows are too many for an RBF score of order {q}", f"sample at most {_DENSE}, or take q = 2"
            )
        return of_eigenvalues(np.linalg.eigvalsh(_similarity(rows, rows, kernel, sigma) / len(rows)), q)
    _check(kernel, sigma)
    small = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    return of_eigenvalues(np.linalg.eigvalsh(small / len(rows)), q)


def of_eigenvalues(values: NDArray[Any], q: float = 1.0) -> float:
    """The Vendi score of eigenvalues that sum to 1; what is below rounding counts as 0."""
    if not q >= 0:
        raise UsageError(f"q = {q} is no order", "0 to infinity")
    values = np.maximum(values, 0.0)
    values = values[values > len(values) * np.finfo(np.float64).eps * max(values.max(), 1e-300)]
    if q == 0:
        return float(len(values))
    if np.isinf(q):
        return float(1 / values.max())
    if abs(q - 1) < 1e-9:
        return float(np.exp(-(values * np.log(values)).sum()))
    return float((values**q).sum() ** (1 / (1 - q)))


def rke(x: NDArray[Any], kernel: Kernel = "rbf", sigma: float = SIGMA) -> float:
    """Order-2 Vendi, n² / ‖K‖²: exact, in blocks; O(n² d) time for RBF, O(n d²) for linear, little memory.

    >>> round(rke(np.eye(5), kernel="linear"), 6)
    5.0
    """
    rows = unit_rows(x)
    _check(kernel, sigma)
    if kernel == "linear":
        return gram(rows).vendi(2)
    total = 0.0
    for start in range(0, len(rows), _BLOCK):
        total += float((_similarity(rows[start : start + _BLOCK], rows, kernel, sigma) ** 2).sum())
    return len(rows) ** 2 / total


def rke_sampled(
    x: NDArray[Any], kernel: Kernel = "rbf", sigma: float = SIGMA, *, pairs: int = 200_000, seed: int = 0
) -> Estimate:
    """RKE of any number of rows from `pairs` random pairs, with the interval of that draw (delta method)."""
    rows = unit_rows(x)
    _check(kernel, sigma)
    n = len(rows)
    if n < 2:
        return Estimate(1.0, 1.0, 1.0, n)
    random = np.random.default_rng(seed)
    i = random.integers(0, n, pairs)
    j = (i + random.integers(1, n, pairs)) % n
    cosine = np.concatenate(
        [(rows[a] * rows[b]).sum(1) for a, b in zip(np.array_split(i, 64), np.array_split(j, 64), strict=True)]
    )
    squared = _of_cosine(cosine, kernel, sigma) ** 2
    mean, error = squared.mean(), squared.std(ddof=1) / np.sqrt(pairs)
    value, slack = 1 / n + (1 - 1 / n) * mean, 1.96 * (1 - 1 / n) * error
    return Estimate(1 / value, 1 / (value + slack), 1 / max(value - slack, 1 / n), n)


class Gram(NamedTuple):
    """The sum of x xᵀ over `n` unit rows, `[d, d]` float64, and the sum of x: all that the linear score needs."""

    n: int
    total: Floats
    row_sum: Floats

    def vendi(self, q: float = 1.0) -> float:
        """The linear-kernel Vendi score of the rows behind it. Raises DataError where there are none."""
        if not self.n:
            raise DataError("a diversity of no rows is unknown", "give at least one row")
        return of_eigenvalues(np.linalg.eigvalsh(self.total / self.n), q)

    def pairwise_distance(self) -> float:
        """Mean 1 - cosine over all ordered pairs, each row with itself included. Almost blind to collapse: no headline."""
        return float(1 - (self.row_sum**2).sum() / self.n**2)

    def packed(self) -> list[float]:
        """Upper triangle, then the row sum: what a sidecar stores."""
        return [*self.total[np.triu_indices(len(self.total))].tolist(), *self.row_sum.tolist()]


def gram(x: NDArray[Any]) -> Gram:
    """The sums of some rows. No rows have sums of zero."""
    rows = unit_rows(x, empty=True)
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), 65_536):
        total += rows[start : start + 65_536].T @ rows[start : start + 65_536]
    return Gram(len(rows), total, rows.sum(0))


def unpacked(n: int, values: Sequence[float]) -> Gram:
    """What `Gram.packed` wrote. Raises DataError where the length fits no width."""
    width = int((-3 + np.sqrt(9 + 8 * len(values))) / 2)
    if width * (width + 3) // 2 != len(values):
        raise DataError(f"{len(values)} numbers are no packed sum of rows", "make the sidecar again")
    total = np.zeros((width, width))
    upper = np.triu_indices(width)
    total[upper] = values[: len(upper[0])]
    total = total + np.triu(total, 1).T
    return Gram(n, total, np.asarray(values[len(upper[0]) :], np.float64))


def merge(grams: Iterable[Gram]) -> Gram:
    """The sums of the union of disjoint sets of rows. Raises DataError on none, or on unlike widths."""
    parts = list(grams)
    if not parts or len({len(part.row_sum) for part in parts}) > 1:
        raise DataError(
            f"{len(parts)} sums of {len({len(p.row_sum) for p in parts})} widths have no union", "one model, at least one"
        )
    return Gram(sum(p.n for p in parts), sum(p.total for p in parts), sum(p.row_sum for p in parts))  # type: ignore[arg-type]


class Split(NamedTuple):
    """Diversity within groups (`alpha`), between them (`beta`) and of all (`gamma`); `gamma = alpha · beta`."""

    alpha: float
    beta: float
    gamma: float


def alpha_beta_gamma(x: NDArray[Any], groups: Sequence[Hashable]) -> Split:
    """Linear Vendi of all rows split into within and between groups, weighted by size; 1 ≤ beta ≤ number of groups.

    With tasks for groups: alpha falling says that a task's rollouts become alike, beta falling that tasks do.
    """
    rows = unit_rows(x)
    if len(groups) != len(rows):
        raise DataError(f"{len(rows)} rows and {len(groups)} groups", "give one group a row")
    codes: dict[Hashable, int] = {}
    at = np.array([codes.setdefault(group, len(codes)) for group in groups], np.int64)
    order = np.argsort(at, kind="stable")
    sizes = np.bincount(at)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    within = 0.0
    for size in np.unique(sizes):
        for part in np.array_split(np.flatnonzero(sizes == size), max(1, int(size) * int((sizes == size).sum()) // 50_000)):
            within += size * _entropies(rows, order, starts[part], int(size)).sum()
    gamma, alpha = vendi_score(rows), float(np.exp(within / len(rows)))
    return Split(alpha, gamma / alpha, gamma)


def _entropies(rows: Floats, order: NDArray[np.int64], starts: NDArray[np.int64], size: int) -> Floats:
    """Spectral entropy of each group of `size` rows that begins at one of `starts` in `order`."""
    if size == 1:
        return np.zeros(len(starts))
    if size > rows.shape[1]:
        return np.array([np.log(gram(rows[order[s : s + size]]).vendi()) for s in starts])
    members = rows[order[starts[:, None] + np.arange(size)]]
    values = np.maximum(np.linalg.eigvalsh(members @ members.transpose(0, 2, 1) / size), 0)
    return -(values * np.log(np.where(values > 1e-15, values, 1.0))).sum(1)


def sample_size(n: int) -> int:
    """The size at which `n` rows are compared with others: the largest of 1, 2, 5, 10, 20 … that is at most half of them."""
    return max((size for size in _SIZES if size <= n // 2), default=1)


def subsampled(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Sequence[Hashable] | int,
    *,
    size: int | None = None,
    draws: int = 40,
    seed: int = 0,
    least: float = -math.inf,
) -> Estimate:
    """A statistic at a fixed number of rows, with the interval of having seen these rows and no others.

    `statistic` is given row numbers; `clusters` are the rows' clusters (problem keys), or how many rows there are. Each draw
    takes `size` rows, without replacement, out of a random half of the clusters: halves vary as the whole would among samples
    of its size. A bootstrap's doubled rows would lower every diversity. `n` is the number of rows drawn, `least` what the
    statistic cannot be under.
    """
    at = np.arange(clusters) if isinstance(clusters, int) else _codes(clusters)
    size = sample_size(len(at)) if size is None else size
    if not 1 <= size <= max(len(at), 1) or draws < 2:
        raise UsageError(
            f"{size} of {len(at)} rows, {draws} draws", "a sample is at most as large as the data; at least two draws"
        )
    if not len(at):
        raise DataError("a diversity of no rows is unknown", "give at least one row")
    random = np.random.default_rng(seed)
    values = np.array([statistic(_half(at, size, random)) for _ in range(draws)])
    value, slack = float(values.mean()), 2.0 * float(values.std(ddof=1))
    return Estimate(value, *within(value, slack, least), size)


def _codes(clusters: Sequence[Hashable]) -> NDArray[np.int64]:
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], np.int64)


def _half(at: NDArray[np.int64], size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`size` rows of a random half of the clusters, of as many more clusters as it takes, in row order."""
    rank = random.permutation(int(at.max()) + 1)
    inside = np.bincount(rank[at])
    enough = int(np.searchsorted(np.cumsum(inside), size)) + 1
    rows = np.flatnonzero(rank[at] < max(enough, len(rank) // 2))
    return np.sort(random.choice(rows, size, replace=False))


def unit_rows(x: NDArray[Any], empty: bool = False) -> Floats:
    """`x` as float64 rows of length 1. Raises DataError on another shape, no rows, a NaN, or a row of zeros."""
    rows = np.asarray(x, np.float64)
    if rows.ndim != 2:
        raise DataError(f"vectors have shape {rows.shape}, not (rows, numbers)", "give one vector a row")
    if not len(rows) and not empty:
        raise DataError("a diversity of no rows is unknown", "give at least one row")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise DataError(
            f"row {bad[0]} is zero or not finite, as are {len(bad) - 1} more", "leave such rows out: they point nowhere"
        )
    return rows if np.abs(lengths - 1).max(initial=0) < 1e-12 else rows / lengths


def _check(kernel: str, sigma: float) -> None:
    if kernel not in ("linear", "rbf"):
        raise UsageError(f"kernel {kernel!r} is unknown", "linear or rbf")
    if not sigma > 0:
        raise UsageError(f"sigma = {sigma} is impossible", "above 0")


def _similarity(a: Floats, b: Floats, kernel: Kernel, sigma: float) -> Floats:
    _check(kernel, sigma)
    return _of_cosine(a @ b.T, kernel, sigma)


def _of_cosine(cosine: Floats, kernel: Kernel, sigma: float) -> Floats:
    return cosine if kernel == "linear" else np.exp((np.minimum(cosine, 1.0) - 1) / sigma**2)
