"""Who leads in each group, by how much: plurality over coded answers, plain or weighted; knows no threshold and no table.

One entry per group, whole columns at a time. Every reply that came back is in the denominator, answer or not, so that
silence is no agreement; a tie has no winner. No order of rows can change a number: weights are summed in the order of their
size. Self-consistency: Wang et al. (2203.11171); softmax weights: CISC (2502.06233); rank weights: Kang et al. (2502.18581).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.metrics.stats.estimators import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Weighing = Literal["one", "probability", "softmax", "rank"]
_EQUAL = 1e-9  # weighted masses closer than this share of the whole differ by rounding


class Votes(NamedTuple):
    """One entry per group: `winner` is an answer's code or -1; masses are weights, or counts where nothing is weighted."""

    winner: Ints
    top: Floats
    second: Floats
    total: Floats
    top_votes: Ints
    voters: Ints
    present: Ints
    entropy: Floats
    tie: Bools

    @property
    def share(self) -> Floats:
        """The leader's part of all replies; 0 where none came back."""
        return self.top / np.where(self.total > 0, self.total, 1.0)

    @property
    def margin(self) -> Floats:
        """The leader's lead over the second, as part of all replies."""
        return (self.top - self.second) / np.where(self.total > 0, self.total, 1.0)


def plurality(group: Ints, choice: Ints, present: Bools, n: int, weight: Floats | None = None) -> Votes:
    """The leaders of `n` groups. Per row: its group, its answer's code (-1: none), whether it came back, its weight.

    `entropy` is over the answers given, in nats: exp of it is the number of effective answers.
    """
    voting = present & (choice >= 0)
    codes = int(choice.max(initial=-1)) + 1
    of, answer, mass, votes = _pairs(group[voting], choice[voting], codes, None if weight is None else weight[voting])
    order = np.lexsort((-mass, of))
    of, answer, mass, votes = of[order], answer[order], mass[order], votes[order]
    start = np.searchsorted(of, np.arange(n + 1))
    some = start[1:] > start[:-1]
    first = start[:-1][some]
    top, second, leader, top_votes = np.zeros(n), np.zeros(n), np.full(n, -1, np.int64), np.zeros(n, np.int64)
    top[some], leader[some], top_votes[some] = mass[first], answer[first], votes[first]
    rivals = start[1:] - start[:-1] > 1
    second[rivals] = mass[start[:-1][rivals] + 1]
    total = _summed(group[present], None if weight is None else weight[present], n)
    tie = rivals & (top - second <= _EQUAL * total)
    return Votes(
        np.where(tie, -1, leader), top, second, total, top_votes,
        np.bincount(of, weights=votes, minlength=n).astype(np.int64), np.bincount(group[present], minlength=n),
        _entropy(of, mass, n), tie,
    )  # fmt: skip


def weigh(confidence: Floats, group: Ints, present: Bools, kind: Weighing, temperature: float, power: float) -> Floats:
    """A weight per row from its confidence (a mean log-prob, or any score); NaN where the confidence is.

    `probability` is exp(c); `softmax` is exp(c / temperature) within a group, up to the factor that shares cancel; `rank` is
    (n - rank + 1) ^ power, equals sharing the mean of their ranks. Confidences of one group must come from one temperature.
    """
    if kind == "one":
        return np.ones(len(confidence))
    if kind == "probability":
        return np.exp(confidence)
    if kind == "softmax":
        best = np.full(int(group.max(initial=-1)) + 1, -np.inf)
        known = present & ~np.isnan(confidence)
        np.maximum.at(best, group[known], confidence[known])
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp((confidence - best[group]) / temperature))
    return _ranks(confidence, group, present) ** power


def _ranks(confidence: Floats, group: Ints, present: Bools) -> Floats:
    """1 for the least sure of a group up to its size, equals in the middle of their places."""
    out = np.full(len(confidence), np.nan)
    rows = np.flatnonzero(present & ~np.isnan(confidence))
    order = rows[np.lexsort((confidence[rows], group[rows]))]
    g, c = group[order], confidence[order]
    place = np.arange(len(order)) - np.searchsorted(g, g) + 1.0
    change = np.ones(len(order), bool)
    change[1:] = (g[1:] != g[:-1]) | (c[1:] != c[:-1])
    run = np.cumsum(change) - 1
    mean = np.bincount(run, weights=place) / np.maximum(np.bincount(run), 1) if len(run) else place
    out[order] = mean[run] if len(run) else mean
    return out


def _pairs(group: Ints, choice: Ints, codes: int, weight: Floats | None) -> tuple[Ints, Ints, Floats, Ints]:
    """Each (group, answer) once: its mass and its votes."""
    keys = group * max(codes, 1) + choice
    if weight is None:
        found, votes = np.unique(keys, return_counts=True)
        return found // max(codes, 1), found % max(codes, 1), votes.astype(np.float64), votes
    order = np.lexsort((weight, keys))
    found, start, votes = np.unique(keys[order], return_index=True, return_counts=True)
    mass = np.add.reduceat(weight[order], start) if len(start) else np.zeros(0)
    return found // max(codes, 1), found % max(codes, 1), mass, votes


def _summed(group: Ints, weight: Floats | None, n: int) -> Floats:
    if weight is None:
        return np.bincount(group, minlength=n).astype(np.float64)
    order = np.lexsort((weight, group))
    found, start = np.unique(group[order], return_index=True)
    out = np.zeros(n)
    if len(start):
        out[found] = np.add.reduceat(weight[order], start)
    return out


def _entropy(of: Ints, mass: Floats, n: int) -> Floats:
    whole = np.bincount(of, weights=mass, minlength=n)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = mass / whole[of]
        terms = np.where(share > 0, -share * np.log(share), 0.0)
    return np.maximum(np.bincount(of, weights=terms, minlength=n), 0.0)
