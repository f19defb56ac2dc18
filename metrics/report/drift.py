"""Whether two sets of rows come from one source, told four ways, and which rows only one of them has.

The unbiased squared maximum mean discrepancy (Gretton et al., 2012) with a permutation test; a classifier two-sample test
(Lopez-Paz & Oquab, 1610.06545): the area under the ROC of a logistic regression on the vectors, cross-fitted by task; the
population stability index and the Jensen-Shannon divergence of binned numbers. Nothing here knows a table.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.metrics.embeddings.neighbours import nearest
from ratoon.metrics.embeddings.spectrum import SIGMA
from ratoon.metrics.stats.calibration import auroc
from ratoon.metrics.stats.estimators import Estimate

VERSION = "1"
MOST = 1_500  # rows a side of the pairwise tests
_PERMUTATIONS, _FOLDS, _STEPS = 300, 5, 12
_RIDGE = 0.01  # of the mean loss: little enough to see a difference of one row in ten
Floats = NDArray[np.float64]


class Discrepancy(NamedTuple):
    """MMD² and how often shuffled sides differ as much; `n` is the rows of both sides."""

    value: float
    p: float
    n: int


class Gone(NamedTuple):
    """Rows of one side farther from the other than nearly all are from their own: share, row numbers, nearest similarity."""

    share: float
    rows: list[int]
    similarity: list[float]


def mmd2(x: NDArray[np.float32], y: NDArray[np.float32], *, sigma: float = SIGMA, seed: int = 0) -> Discrepancy | None:
    """The unbiased MMD² of unit rows under an RBF kernel, its p by permutation; None under two rows a side."""
    if min(len(x), len(y)) < 2:
        return None
    rows = np.concatenate([x, y]).astype(np.float64)
    kernel = np.exp((np.minimum(rows @ rows.T, 1.0) - 1) / sigma**2)
    np.fill_diagonal(kernel, 0.0)
    random, m = np.random.default_rng(seed), len(x)
    side = np.zeros((len(rows), _PERMUTATIONS + 1))
    side[:m, 0] = 1
    for i in range(1, _PERMUTATIONS + 1):
        side[random.permutation(len(rows))[:m], i] = 1
    found = _mmd(kernel, side, m, len(y))
    return Discrepancy(float(found[0]), float((1 + (found[1:] >= found[0]).sum()) / (1 + _PERMUTATIONS)), len(rows))


def _mmd(kernel: Floats, side: Floats, m: int, n: int) -> Floats:
    """The statistic of each column of sides (0 or 1): the means within both sides less twice the mean between."""
    with_x = kernel @ side
    xx = (side * with_x).sum(0)
    xy = ((1 - side) * with_x).sum(0)
    yy = kernel.sum() - xx - 2 * xy
    return np.asarray(xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n))


def two_sample(x: NDArray[np.float32], y: NDArray[np.float32], groups: Sequence[Hashable], *, seed: int = 0) -> Estimate | None:
    """The AUC of telling the sides apart, .5 where they are alike; `groups` (tasks of x, then of y) stay in one fold.

    The interval is Hanley and McNeil's. None where a side has fewer than 20 rows.
    """
    if min(len(x), len(y)) < 20:
        return None
    rows = np.concatenate([x, y]).astype(np.float64)
    label = np.r_[np.ones(len(x)), np.zeros(len(y))]
    codes: dict[Hashable, int] = {}
    at = np.array([codes.setdefault(group, len(codes)) for group in groups])
    fold = np.random.default_rng(seed).permutation(len(codes))[at] % _FOLDS
    said = np.full(len(rows), 0.5)
    for i in range(_FOLDS):
        train, test = fold != i, fold == i
        if test.any() and 0 < label[train].sum() < train.sum():
            said[test] = _predicted(rows[train], label[train], rows[test])
    value = auroc(said, label)
    return None if value is None else _with_interval(value, len(x), len(y))


def _predicted(rows: Floats, label: Floats, new: Floats) -> Floats:
    """Ridge logistic regression by Newton's steps on the leading directions; both sides weigh the same."""
    mean = rows.mean(0)
    _, _, axes = np.linalg.svd(rows[:: max(1, len(rows) // 1000)] - mean, full_matrices=False)
    axes = axes[: min(64, len(rows) // 4)].T
    scale = ((rows - mean) @ axes).std(0).mean() or 1.0
    x = np.c_[(rows - mean) @ axes / scale, np.ones(len(rows))]
    weight = np.where(label == 1, 0.5 / label.sum(), 0.5 / (1 - label).sum())
    ridge = np.r_[np.full(x.shape[1] - 1, _RIDGE), 1e-9]
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (weight * (label - p)) - ridge * beta
        curve = (x.T * (weight * np.maximum(p * (1 - p), 1e-6))) @ x + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        beta += step
        if np.abs(step).max() < 1e-6:
            break
    z = np.c_[(new - mean) @ axes / scale, np.ones(len(new))] @ beta
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def _with_interval(auc: float, n: int, m: int) -> Estimate:
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)
    slack = 1.96 * float(np.sqrt(max(spread, 0.0) / (n * m)))
    return Estimate(auc, max(0.0, auc - slack), min(1.0, auc + slack), min(n, m))


def psi(now: Floats, was: Floats) -> float | None:
    """The population stability index of two histograms of counts, less what as many rows of one source would show.

    Half a row is added to every bin. 0 is alike, .1 is little, .25 is much (a rule of thumb of credit scoring).
    """
    if not now.sum() or not was.sum():
        return None
    used = (now + was) > 0
    p, q = now[used] + 0.5, was[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    found = float(((p - q) * np.log(p / q)).sum())
    return max(0.0, found - (int(used.sum()) - 1) * (1 / float(now.sum()) + 1 / float(was.sum())))


def by_quantiles(now: Floats, was: Floats, bins: int = 10) -> tuple[Floats, Floats]:
    """Counts of both columns (no NaN) in bins that hold equal shares of `was`."""
    edges = np.unique(np.quantile(was, np.linspace(0, 1, bins + 1)[1:-1]))
    return tuple(np.bincount(np.searchsorted(edges, side, "right"), minlength=len(edges) + 1).astype(float)
                 for side in (now, was))  # type: ignore[return-value]  # fmt: skip


def gone(x: NDArray[np.float32], other: NDArray[np.float32], most: int) -> Gone | None:
    """Rows of `x` that `other` has no neighbour of; farthest first.

    Far is farther than 99 of 100 rows of `x` are from the rest of `x`: about one in a hundred where the sides are alike.
    None under 20 rows a side.
    """
    if min(len(x), len(other)) < 20:
        return None
    own, there = nearest(x), nearest(x, other)
    far = there < np.quantile(own, 0.01) - 1e-6
    order = np.argsort(there, kind="stable")[: min(most, int(far.sum()))]
    return Gone(float(far.mean()), order.tolist(), [float(there[i]) for i in order])
