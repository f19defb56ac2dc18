"""Estimators for reports: pass@k, pass^k, maj@k, Wilson and bootstrap intervals; pure numbers, no table.

pass@k is the unbiased form of Chen et al. (2021), never 1 - (1 - c/n)^k, which is biased low. maj@k is the exact
expectation over k-subsets without replacement. Samples of one problem are not independent: bootstraps resample clusters
(problem keys) with all that belongs to them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import UsageError

Floats = NDArray[np.float64]
_CHUNK = 2_000_000
_SAME = 1e-9  # rates closer than this differ by rounding


class Estimate(NamedTuple):
    """A value with its percentile interval; `n` is the number of clusters resampled."""

    value: float
    lo: float
    hi: float
    n: int


class Difference(NamedTuple):
    """mean(a) - mean(b) over the same tasks with its percentile interval; `n` is the number of clusters resampled."""

    difference: float
    lo: float
    hi: float
    n: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of `k` of `n` samples is right when `c` are. Raises UsageError on impossible counts.

    >>> round(pass_at_k(10, 3, 5), 4)
    0.9167
    """
    _check_counts(n, c, k)
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def _check_counts(n: int, c: int, k: int) -> None:
    for name, value in (("n", n), ("c", c), ("k", k)):
        if isinstance(value, bool) or int(value) != value:
            raise UsageError(f"{name} = {value!r} is no count", "counts are whole numbers")
    if not (0 <= c <= n and 1 <= k <= n):
        raise UsageError(f"n = {n}, c = {c}, k = {k} is impossible", "0 ≤ c ≤ n and 1 ≤ k ≤ n")


def maj_at_k(votes: Sequence[Hashable | None], correct: Hashable | None, k: int) -> float:
    """The chance that the plurality of `k` of the votes, drawn without replacement, is `correct`; ties count 1/|tied|.

    None is a sample without an answer: it can be drawn, it never wins. Raises UsageError unless 1 ≤ k ≤ len(votes).

    >>> round(maj_at_k("AAAABBBC", "A", 3), 4)
    0.5714
    """
    if isinstance(k, bool) or not 1 <= k <= len(votes):
        raise UsageError(f"maj@{k} of {len(votes)} votes is impossible", "1 ≤ k ≤ number of votes")
    if correct is None:
        return 0.0
    counts = Counter(vote for vote in votes if vote is not None)
    right = counts.pop(correct, 0)
    blank = sum(vote is None for vote in votes)
    return _majority(right, tuple(sorted(counts.values())), blank, k)


@lru_cache(maxsize=65536)
def _majority(right: int, others: tuple[int, ...], blank: int, k: int) -> float:
    """Exact expectation: over the right votes drawn (j), the other classes drawn at most j times, t of them exactly j."""
    total = right + sum(others) + blank
    won = 0.0
    for j in range(1, min(right, k) + 1):
        # ways[t][drawn]: how often the other classes give `drawn` votes with t classes tied at j
        ways = {0: {0: 1}}
        for size in others:
            ways = _add_class(ways, size, j, k - j)
        for tied, by_drawn in ways.items():
            sets = sum(w * math.comb(blank, k - j - drawn) for drawn, w in by_drawn.items())
            won += math.comb(right, j) * sets / math.comb(total, k) / (tied + 1)
    return min(won, 1.0)


def _add_class(ways: dict[int, dict[int, int]], size: int, most: int, room: int) -> dict[int, dict[int, int]]:
    out: dict[int, dict[int, int]] = {}
    for tied, by_drawn in ways.items():
        for drawn, count in by_drawn.items():
            for x in range(min(size, most, room - drawn) + 1):
                row = out.setdefault(tied + (x == most), {})
                row[drawn + x] = row.get(drawn + x, 0) + count * math.comb(size, x)
    return out


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a proportion; (0, 1) of nothing. Only for one Bernoulli per problem. Raises UsageError.

    >>> tuple(round(x, 4) for x in wilson(8, 10))
    (0.4902, 0.9433)
    """
    if not (0 <= successes <= n) or not z > 0:
        raise UsageError(f"wilson({successes}, {n}, {z}) is impossible", "0 ≤ successes ≤ n and z > 0")
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z / n
    centre = (p + zz / 2) / (1 + zz)
    half = z * math.sqrt(p * (1 - p) / n + zz / (4 * n)) / (1 + zz)
    # Rounding must not leave a sliver where the closed form is exactly 0 or 1.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def within(value: float, slack: float, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """`value` ± `slack`; where that leaves [low, high], the interval of the logarithm (of the logit) of its place in there.

    >>> [round(x, 2) for x in within(1.0, 3.0, low=0.0)], within(5.0, 3.0, low=0.0)
    ([0.05, 20.09], (2.0, 8.0))
    """
    lo, hi = value - slack, value + slack
    if not slack > 0 or (low <= lo and hi <= high):
        return max(lo, low), min(hi, high)
    if not low < value < high:
        return (value, min(hi, high)) if value <= low else (max(lo, low), value)
    if math.isinf(high):
        factor = math.exp(min(slack / (value - low), 700))
        return low + (value - low) / factor, low + (value - low) * factor
    share = (value - low) / (high - low)
    width = min(slack / (high - low) / (share * (1 - share)), 700)
    ends = [1 / (1 + math.exp(-(math.log(share / (1 - share)) + sign * width))) for sign in (-1, 1)]
    return low + ends[0] * (high - low), low + ends[1] * (high - low)


def wilson_columns(successes: NDArray[Any], n: NDArray[Any], z: float = 1.96) -> tuple[Floats, Floats]:
    """`wilson` over columns; NaN where n is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, zz = successes / n, z * z / n
        centre = (p + zz / 2) / (1 + zz)
        half = z * np.sqrt(p * (1 - p) / n + zz / (4 * n)) / (1 + zz)
    lo = np.where(successes == 0, np.where(n == 0, np.nan, 0.0), centre - half)
    hi = np.where(successes == n, np.where(n == 0, np.nan, 1.0), centre + half)
    return lo, hi


def bootstrap(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The mean of `values` with a percentile interval over resampled clusters (each value its own where none are given).

    Where all clusters agree the interval has no width; for a rate see `unanimous_rate`.
    Raises UsageError on no values, a value that is not finite, or clusters of another length.
    """
    column = _column(values, "values")
    return bootstrap_statistic(column[:, None], _first_mean, clusters=clusters, draws=draws, seed=seed, level=level)


def unanimous_rate(estimate: Estimate, trials: int) -> Estimate:
    """The bootstrap of a rate, or Wilson's interval over its clusters, `trials` of them, where they all agree on 0 or on 1.

    Resampling values that do not differ gives an interval without width, however few they are. Only for means of values
    in [0, 1]: such a mean is 0 or 1 only when every value is.

    >>> [round(x, 4) for x in unanimous_rate(bootstrap([0.0] * 200, draws=10), 200)]
    [0.0, 0.0, 0.0188, 200]
    """
    if not estimate.hi - estimate.lo < _SAME or min(estimate.value, 1 - estimate.value) > _SAME:
        return estimate
    return Estimate(estimate.value, *wilson(trials * round(estimate.value), trials), estimate.n)


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """mean(a) - mean(b), where a[i] and b[i] are the same task's outcomes, resampling clusters with all their tasks.

    An interval that contains 0 says: no detectable change. Raises UsageError on unequal lengths and as `bootstrap` does.
    """
    left, right = _column(a, "a"), _column(b, "b")
    if len(left) != len(right):
        raise UsageError(f"a has {len(left)} values and b has {len(right)}", "pair them by task")
    columns = (left - right)[:, None]
    return Difference(*bootstrap_statistic(columns, _first_mean, clusters=clusters, draws=draws, seed=seed, level=level))


def _first_mean(means: Floats) -> Floats:
    return means[:, 0]


def bootstrap_statistic(
    columns: NDArray[Any],
    statistic: Callable[[Floats], Floats],
    *,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Any function of column means: `columns` is (tasks, m), `statistic` maps (draws, m) means to (draws,) values.

    A draw whose statistic is undefined (NaN) is left out of the interval.
    """
    if draws < 1 or not 0 < level < 1:
        raise UsageError(f"draws = {draws}, level = {level} is impossible", "draws ≥ 1 and 0 < level < 1")
    sums = cluster_sums(np.asarray(columns, dtype=np.float64), clusters)
    value = float(statistic((sums[:, :-1].sum(0) / sums[:, -1].sum())[None, :])[0])
    resampled = np.concatenate([statistic(s[:, :-1] / s[:, -1:]) for s in _resampled(sums, draws, seed)])
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Estimate(value, math.nan, math.nan, len(sums))
    lo, hi = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(lo), float(hi), len(sums))


def cluster_sums(columns: Floats, clusters: Sequence[Hashable] | None) -> Floats:
    """The sums of each cluster's columns and, last, its number of rows: (clusters, m + 1), in order of first appearance."""
    rows = np.column_stack([columns, np.ones(len(columns))])
    if clusters is None:
        return rows
    if len(clusters) != len(columns):
        raise UsageError(f"{len(columns)} values and {len(clusters)} clusters", "give one cluster per value")
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.int64)
    sums = np.zeros((len(codes), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def _resampled(sums: Floats, draws: int, seed: int) -> list[Floats]:
    """Column sums of `draws` resamples of the clusters, in chunks that bound memory."""
    random, n = np.random.default_rng(seed), len(sums)
    size = max(1, min(draws, _CHUNK // n))
    out = []
    for start in range(0, draws, size):
        count = min(size, draws - start)
        # Counting drawn indices gives multinomial weights at a tenth of the cost of drawing them.
        drawn = random.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        out.append(weights.astype(np.float64) @ sums)
    return out


def _column(values: Sequence[float], name: str) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not len(column):
        raise UsageError(f"{name} has shape {column.shape}", "give at least one number")
    if not np.isfinite(column).all():
        raise UsageError(f"{name} holds a value that is not finite", "leave out tasks without a valid sample")
    return column
