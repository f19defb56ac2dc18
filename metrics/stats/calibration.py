"""How far a confidence can be believed, and a rate seen through an imperfect verifier; pure numbers, no table.

A confidence is any number in [0, 1] said of an item (a vote's share, a judge's score), beside whether the item was right.
Rows of one confidence are told apart by nothing, so each carries their common accuracy: no order of rows can change a
number. ECE with equal-mass bins: Nixon et al. (2019); it is biased upwards when bins are small. AUROC is the Mann-Whitney
statistic. Rogan and Gladen (1978) correct a population's rate; the interval is Newcombe's square-and-add (2001), each input
moved to its own limit in turn. Nothing here may correct one group's rate: one group's false verdicts are no population.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import DataError, UsageError
from ratoon.metrics.stats.estimators import Estimate, Floats, wilson

Column = Sequence[float] | NDArray[Any]


class RiskCoverage(NamedTuple):
    """The share of items that are at least `threshold` sure, the share of these that is wrong, and their number."""

    threshold: float
    coverage: float
    risk: float | None
    n: int


def ece(confidence: Column, right: Column, *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass: the mean of |accuracy - confidence|, weighted by bin size.

    Fewer rows than bins are a bin each. Raises UsageError on no rows, or on a value outside [0, 1].

    >>> round(ece([0.9] * 10, [1] * 6 + [0] * 4), 4)
    0.3
    """
    if bins < 1:
        raise UsageError(f"bins = {bins} is impossible", "at least one bin")
    sure, good = _by_confidence(*_columns(confidence, right))
    parts = zip(np.array_split(sure, bins), np.array_split(good, bins), strict=True)
    return float(sum(abs(c.sum() - g.sum()) for c, g in parts) / len(sure))


def brier(confidence: Column, right: Column) -> float:
    """Brier score: the mean squared distance of confidence and outcome; a forecast of one half scores 0.25 whatever comes.

    Raises UsageError on no rows, or on a value outside [0, 1].

    >>> brier([0.5, 0.5, 1.0, 0.0], [1, 0, 1, 0])
    0.125
    """
    sure, good = _columns(confidence, right)
    return float(np.mean((sure - good) ** 2))


def auroc(confidence: Column, right: Column) -> float | None:
    """The chance that a right item is surer than a wrong one, ties one half; None where all are right, or none.

    Raises UsageError on no rows, or on a value outside [0, 1].

    >>> auroc([0.9, 0.8, 0.8, 0.1], [1, 1, 0, 0])
    0.875
    """
    sure, good = _columns(confidence, right)
    n_right = float(good.sum())
    n_wrong = len(good) - n_right
    if not n_right or not n_wrong:
        return None
    _, at, counts = np.unique(sure, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # midranks from 1
    above = float((ranks[at] * good).sum()) - n_right * (n_right + 1) / 2
    return above / (n_right * n_wrong)


def risk_coverage(confidence: Column, right: Column) -> list[RiskCoverage]:
    """One point per distinct confidence, from the surest to the least sure, where everything is accepted.

    Raises UsageError on no rows, or on a value outside [0, 1].

    >>> [(p.coverage, p.risk) for p in risk_coverage([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])]
    [(0.25, 0.0), (0.75, 0.3333333333333333), (1.0, 0.5)]
    """
    sure, good = _columns(confidence, right)
    values, at, counts = np.unique(sure, return_inverse=True, return_counts=True)
    accepted = np.cumsum(counts[::-1])
    wrong = accepted - np.cumsum(np.bincount(at, weights=good, minlength=len(values))[::-1])
    points = zip(values[::-1], accepted, wrong, strict=True)
    return [RiskCoverage(float(t), float(n / len(sure)), float(w / n), int(n)) for t, n, w in points]


def rate(successes: int, n: int) -> Estimate:
    """A proportion with its Wilson interval, as `rogan_gladen` takes it. Raises UsageError where n is 0.

    >>> tuple(round(x, 4) for x in rate(8, 10))
    (0.8, 0.4902, 0.9433, 10)
    """
    if n < 1:
        raise UsageError("a rate of nothing is unknown", "count at least one")
    return Estimate(successes / n, *wilson(successes, n), n)


def rogan_gladen(p_obs: Estimate, fpr: Estimate, tpr: Estimate) -> Estimate:
    """The population's true rate behind an observed one: (p_obs - FPR) / (TPR - FPR), clipped to [0, 1].

    Each input is a value with its 95 % interval (`rate`, or a bootstrap over problems for `p_obs`); the uncertainty of all
    three is in the interval. Never for one group's rate. Raises DataError where TPR - FPR is not clearly above 0 (its own
    interval reaches 0), UsageError on an input that is no rate.

    >>> rogan_gladen(rate(500, 1000), rate(100, 1000), rate(900, 1000)).value
    0.5
    """
    for name, given in (("p_obs", p_obs), ("fpr", fpr), ("tpr", tpr)):
        if not 0 <= given.lo <= given.value <= given.hi <= 1:
            raise UsageError(f"{name} = {given} is no rate with an interval", "0 ≤ lo ≤ value ≤ hi ≤ 1")
    apart = difference(tpr, fpr)
    if not apart.lo > 0:
        raise DataError(
            f"TPR - FPR = {apart.value:.3f} (95 % {apart.lo:.3f} to {apart.hi:.3f}) is not clearly above 0: this verifier's"
            " verdicts say too little to correct a rate by them",
            "mend the verifier, or measure it on more planted answers",
        )
    value = _corrected(p_obs.value, fpr.value, tpr.value)
    moved = [
        [_corrected(p, fpr.value, tpr.value) for p in (p_obs.lo, p_obs.hi)],
        [_corrected(p_obs.value, f, tpr.value) for f in (fpr.lo, fpr.hi)],
        [_corrected(p_obs.value, fpr.value, t) for t in (tpr.lo, tpr.hi)],
    ]
    down = math.hypot(*(max(0.0, value - min(ends)) for ends in moved))
    up = math.hypot(*(max(0.0, max(ends) - value) for ends in moved))
    return Estimate(_clip(value), _clip(value - down), _clip(value + up), p_obs.n)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two independent estimates, its interval by square-and-add of theirs (Newcombe); `n` is the smaller.

    >>> tuple(round(x, 4) for x in difference(rate(56, 70), rate(48, 80)))[:3]
    (0.2, 0.0524, 0.3339)
    """
    value = a.value - b.value
    down, up = math.hypot(a.value - a.lo, b.hi - b.value), math.hypot(a.hi - a.value, b.value - b.lo)
    return Estimate(value, value - down, value + up, min(a.n, b.n))


def collapse(agreement: Sequence[Estimate], accuracy: Sequence[Estimate]) -> Literal["flat", "falling"] | None:
    """Whether agreement rises without accuracy: `flat` or `falling` accuracy, or None; oldest round first, equal lengths.

    The newest round is held against the first. Agreement rises when the interval of its difference lies above 0; accuracy
    is falling when its own lies below, flat when it reaches 0 from above. A model that agrees with itself more and is not
    right more often is collapsing onto its own mode (KnowRL's always-feasible model is the extreme).
    """
    if len(agreement) != len(accuracy):
        raise UsageError(f"{len(agreement)} rounds of agreement, {len(accuracy)} of accuracy", "give both for each round")
    if len(agreement) < 2 or not difference(agreement[-1], agreement[0]).lo > 0:
        return None
    gained = difference(accuracy[-1], accuracy[0])
    return "falling" if gained.hi < 0 else "flat" if gained.lo <= 0 else None


def _corrected(p: float, fpr: float, tpr: float) -> float:
    return (p - fpr) / (tpr - fpr)


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _columns(confidence: Column, right: Column) -> tuple[Floats, Floats]:
    sure, good = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != good.shape or not len(sure):
        raise UsageError(f"{sure.shape} confidences and {good.shape} outcomes", "give one outcome per confidence, at least one")
    for name, column in (("confidence", sure), ("right", good)):
        if not ((column >= 0) & (column <= 1)).all():
            raise UsageError(f"{name} holds a value outside [0, 1]", "leave out rows whose outcome is unknown")
    return sure, good


def _by_confidence(sure: Floats, good: Floats) -> tuple[Floats, Floats]:
    """Both columns sorted by confidence; each row has the mean outcome of its confidence."""
    values, at, counts = np.unique(sure, return_inverse=True, return_counts=True)
    mean = np.bincount(at, weights=good, minlength=len(values)) / counts
    return np.repeat(values, counts), np.repeat(mean, counts)
