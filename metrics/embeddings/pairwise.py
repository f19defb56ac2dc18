"""Diversity scores that look at all pairs: for sets of at most some ten thousand rows, or a seeded sample of pairs.

DCScore (Zhu et al., 2502.08512) hangs on its temperature: cosines at τ = 1 say next to nothing. NovelSum (Yang et al.,
2502.17184) weighs neighbours by rank and rows by how sparse their surroundings are. Self-BLEU (Zhu et al., 2018, texygen)
is unsmoothed. Homogenisation is the mean ROUGE-L of pairs, as Shaib et al. (2403.00553) measure it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratoon.errors import DataError, UsageError
from ratoon.metrics.embeddings.spectrum import unit_rows
from ratoon.metrics.stats.estimators import Estimate
from ratoon.text import rouge_l, tokenise

VERSION = "1"
_BLOCK = 1024
_MOST = 20_000
_ORDER = 4


def dc_score(x: NDArray[Any], tau: float = 0.05) -> float:
    """The trace of the row-softmax of cosine similarities over `tau`: 1 for identical rows, towards n for unlike ones."""
    rows = _few(x)
    if not tau > 0:
        raise UsageError(f"tau = {tau} is impossible", "above 0")
    total = 0.0
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK] @ rows.T / tau
        own = part[np.arange(len(part)), start + np.arange(len(part))]
        top = part.max(1, keepdims=True)
        total += float((np.exp(own - top[:, 0]) / np.exp(part - top).sum(1)).sum())
    return total


def novel_sum(
    x: NDArray[Any], alpha: float = 1.0, beta: float = 0.5, reference: NDArray[Any] | None = None, include_self: bool = True
) -> float:
    """Mean over rows of the distances (1 - cosine) to all rows, weighted by 1 / rank^alpha, times a density factor.

    The factor is the mean squared distance to the 10 nearest `reference` rows (the rows themselves where none are given) to the
    power -beta; beta 0 leaves it out. `include_self` counts a row as its own first neighbour, as the authors' code does.
    """
    rows = _few(x)
    n = len(rows)
    if n < 2 and not include_self:
        raise DataError("one row has no neighbour", "give at least two rows")
    factor = _density(rows, reference) ** -beta if beta else np.ones(n)
    ranks = 1.0 / np.arange(1, n + (1 if include_self else 0)) ** alpha
    total = 0.0
    for start in range(0, n, _BLOCK):
        part = np.maximum(1 - rows[start : start + _BLOCK] @ rows.T, 0.0)
        at = np.arange(len(part))
        part[at, start + at] = -1.0  # itself comes first
        near = np.sort(part, 1)
        near[:, 0] = 0.0
        near = near if include_self else near[:, 1:]
        total += float(((near * ranks).sum(1) / ranks.sum() * factor[start + at]).sum())
    return total / n


def _density(rows: NDArray[np.float64], reference: NDArray[Any] | None) -> NDArray[np.float64]:
    base, own = (rows, True) if reference is None else (unit_rows(reference), False)
    k = min(10, len(base) - own)
    if k < 1:
        return np.ones(len(rows))
    out = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        squared = np.maximum(2 - 2 * rows[start : start + _BLOCK] @ base.T, 0.0)
        if own:
            at = np.arange(len(squared))
            squared[at, start + at] = np.inf
        out[start : start + _BLOCK] = np.partition(squared, k - 1, 1)[:, :k].mean(1)
    return np.maximum(out, 1e-12)


def self_bleu(texts: Sequence[str], most: int = 500, *, seed: int = 0) -> float | None:
    """Mean BLEU-4 of a text against the others as references, 0 to 1, up = more alike; of `most` texts drawn by `seed`.

    None where there are fewer than two texts with a word.
    """
    tokens = [words for text in texts if (words := tokenise(text))]
    if len(tokens) < 2:
        return None
    if len(tokens) > most:
        chosen = np.random.default_rng(seed).choice(len(tokens), most, replace=False)
        tokens = [tokens[i] for i in np.sort(chosen)]
    grams = [[Counter(zip(*(t[i:] for i in range(n)), strict=False)) for n in range(1, _ORDER + 1)] for t in tokens]
    tops = [_two_largest([g[n] for g in grams]) for n in range(_ORDER)]
    lengths = sorted(len(t) for t in tokens)
    return float(np.mean([_bleu(grams[i], len(tokens[i]), tops, lengths) for i in range(len(tokens))]))


def _two_largest(counters: list[Counter[Any]]) -> dict[Any, tuple[int, int]]:
    """The largest and second largest count of each n-gram: what the others have of it, whichever text is left out."""
    found: dict[Any, tuple[int, int]] = {}
    for counter in counters:
        for gram, count in counter.items():
            first, second = found.get(gram, (0, 0))
            found[gram] = (max(first, count), max(min(first, count), second))
    return found


def _bleu(grams: list[Counter[Any]], length: int, tops: list[dict[Any, tuple[int, int]]], lengths: list[int]) -> float:
    logs = 0.0
    for mine, top in zip(grams, tops, strict=True):
        total = sum(mine.values())
        kept = sum(min(c, top[g][1] if top[g][0] == c else top[g][0]) for g, c in mine.items())
        if not kept:
            return 0.0
        logs += math.log(kept / total) / _ORDER
    others = lengths.copy()
    others.remove(length)
    closest = min(others, key=lambda other: (abs(other - length), other))
    return math.exp(logs) * (1.0 if length >= closest else math.exp(1 - closest / length))


def homogenisation(texts: Sequence[str], pairs: int = 50_000, *, seed: int = 0) -> Estimate | None:
    """Mean ROUGE-L of pairs of texts with the interval of the draw of pairs, up = more alike; None of fewer than two texts."""
    tokens = [tokenise(text) for text in texts]
    n = len(tokens)
    if n < 2:
        return None
    random = np.random.default_rng(seed)
    if n * (n - 1) // 2 <= pairs:
        drawn = [(i, j) for i in range(n) for j in range(i)]
    else:
        i = random.integers(0, n, pairs)
        drawn = list(zip(i.tolist(), ((i + random.integers(1, n, pairs)) % n).tolist(), strict=True))
    values = np.array([rouge_l(tokens[i], tokens[j]) for i, j in drawn])
    slack = 0.0 if len(values) < pairs else 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    value = float(values.mean())
    return Estimate(value, max(0.0, value - slack), min(1.0, value + slack), len(values))


def _few(x: NDArray[Any]) -> NDArray[np.float64]:
    rows = unit_rows(x)
    if len(rows) > _MOST:
        raise DataError(f"{len(rows)} rows are too many for a score of all pairs", f"sample at most {_MOST}")
    return rows
