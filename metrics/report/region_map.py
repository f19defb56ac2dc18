"""A map of texts: regions with names, and a plane to draw them on; fitted once, on the older side, and then only looked up on.

Regions are `metrics.clusters`' spherical k-means; their names are the words that set them apart (class-based TF-IDF,
Grootendorst, 2203.05794); the plane is the first two principal axes. Distances on the plane are no evidence of anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratoon.metrics.embeddings import clusters
from ratoon.metrics.embeddings.clusters import Codebook

VERSION = "1"
_ROWS_A_REGION = 20
_NAMED = 3
_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON_SAID = """
the and for that with this from are was were have has had you your not but they them then than there their will would
can could should what which when where who how why our out all any its it's his her she him one two each more most some
such also into over under about after before between because these those very just only other been being does did don't
let's let answer question please so if we is it in on to of as at by an or be do no
"""
_COMMON = frozenset(_COMMON_SAID.split())
Floats = NDArray[np.float64]


class Regions(NamedTuple):
    """The frozen map: centres, the plane's origin and axes `[2, d]`, the shares of variance on them, and the regions' names."""

    book: Codebook
    origin: Floats
    axes: Floats
    explained: list[float]
    labels: list[str]


def fit(vectors: NDArray[np.float32], texts: Sequence[str], most: int, seed: int) -> Regions:
    """The map of some embedded texts: at most `most` regions, about one for every 20 rows. Raises DataError on no rows."""
    k = int(np.clip(len(vectors) // _ROWS_A_REGION, 1, most))
    book = clusters.fit_codebook(vectors, k, seed=seed)
    at = clusters.assign(vectors, book)
    rows = vectors.astype(np.float64)
    origin = rows.mean(0)
    values, axes = np.linalg.eigh(np.cov((rows - origin).T) if len(rows) > 1 else np.zeros((rows.shape[1],) * 2))
    axes = axes[:, ::-1][:, :2].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # an axis has no sign of its own
    total = max(float(values.sum()), 1e-12)
    explained = [round(float(max(v, 0.0)) / total, 4) for v in values[::-1][:2]]
    return Regions(book, origin, axes, explained, labels(texts, at, len(book.centres)))


def place(regions: Regions, vectors: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
    """Coordinates `[n, 2]` and region of each row."""
    return (vectors.astype(np.float64) - regions.origin) @ regions.axes.T, clusters.assign(vectors, regions.book)


def labels(texts: Sequence[str], at: NDArray[np.int64], k: int) -> list[str]:
    """A name for each region: the words it has that others have not, weighted tf · log(1 + A / f); its number without words."""
    counts = [Counter[str]() for _ in range(k)]
    for text, region in zip(texts, at.tolist(), strict=True):
        counts[region].update({word for word in _WORD.findall(text[:2000].lower()) if word not in _COMMON})
    whole = Counter[str]()
    for count in counts:
        whole.update(count)
    mean = sum(whole.values()) / max(k, 1)
    return [_named(count, whole, mean) or f"region {i}" for i, count in enumerate(counts)]


def _named(count: Counter[str], whole: Counter[str], mean: float) -> str:
    total = sum(count.values())
    scored = {word: n / total * np.log(1 + mean / whole[word]) for word, n in count.items()}
    return ", ".join(sorted(scored, key=lambda word: (-scored[word], word))[:_NAMED])
