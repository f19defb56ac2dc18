"""Pairs of texts whose vectors point the same way: cosine at or above a floor, by matrix products. Knows no text and no model.

Up to `exact` rows every pair is looked at. Beyond, rows are put into cells around rows drawn by hash, each into the `probes`
nearest, and pairs are looked for inside cells: at a cosine of .9 of MiniLM vectors nearly all are found, but not all. What was
found does not depend on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from ratoon.config import Config, semantic_digest
from ratoon.errors import DataError
from ratoon.metrics.text.edges import edge_rows

VERSION = "1"
KIND = "semantic"
_BLOCK = 2048


class SemanticConfig(Config):
    """Which pairs are kept as edges."""

    floor: float = Field(0.85, gt=-1, le=1, description="least cosine of a pair that is kept as an edge")
    exact: int = Field(50_000, ge=1, description="rows up to which every pair is looked at")
    probes: int = Field(3, ge=1, description="cells a row is put into beyond that")


def version(config: SemanticConfig, fingerprint: str) -> str:
    """What edges must share to be compared: this code, its settings and the model's fingerprint."""
    return f"{VERSION}:{semantic_digest(config)[:12]}:{fingerprint}"


def edges(ids: pa.Array, x: NDArray[np.float32], config: SemanticConfig, made_by: str, new: int | None = None) -> pa.Table:
    """Table edges between rows of `x` (`[n, d]`, unit or zero), a_id < b_id; a zero or non-finite row is near nothing.

    Only the first `new` rows count as new (all, unless said): a pair of two others is not looked for. Raises DataError where
    `ids` and `x` differ in length.
    """
    if len(ids) != len(x):
        raise DataError(f"{len(ids)} ids beside {len(x)} vectors", "give one id a vector")
    new = len(ids) if new is None else new
    good = np.flatnonzero(np.isfinite(x).all(axis=1) & (np.square(x).sum(axis=1) > 0.5))
    cells = [good] if len(good) <= config.exact else _cells(ids, x, good, config.probes)
    words, cosines = [np.zeros(0, np.uint64)], [np.zeros(0)]
    for rows in cells:
        for a, b, cosine in _pairs(x, rows, new, config.floor):
            words.append(np.minimum(a, b).astype(np.uint64) << np.uint64(32) | np.maximum(a, b).astype(np.uint64))
            cosines.append(cosine)
    found, first = np.unique(np.concatenate(words), return_index=True)
    left, right = found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)
    return edge_rows(KIND, ids, left.astype(np.int64), right.astype(np.int64), np.concatenate(cosines)[first], made_by)


def _pairs(
    x: NDArray[np.float32], rows: NDArray[np.int64], new: int, floor: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Each pair of `rows` once, a new one in each."""
    fresh = rows[rows < new]
    rows = np.concatenate([fresh, rows[rows >= new]])
    for start in range(0, len(fresh), _BLOCK):
        mine = fresh[start : start + _BLOCK]
        for other in range(start, len(rows), _BLOCK):
            theirs = rows[other : other + _BLOCK]
            cosines = x[mine] @ x[theirs].T
            i, j = np.nonzero(cosines >= floor - 1e-6)
            once = start + i < other + j
            yield mine[i[once]], theirs[j[once]], np.clip(cosines[i[once], j[once]].astype(np.float64), -1, 1).round(5)


def _cells(ids: pa.Array, x: NDArray[np.float32], good: NDArray[np.int64], probes: int) -> list[NDArray[np.int64]]:
    """Rows by the drawn rows they are nearest to; which are drawn depends on ids alone."""
    order = sorted(good.tolist(), key=lambda i: blake2b(ids[i].as_py().encode(), digest_size=8).digest())
    seeds = x[np.array(order[: max(2, int(len(good) ** 0.5))])]
    nearest = [
        np.argpartition(-(x[good[s : s + _BLOCK]] @ seeds.T), probes - 1, axis=1)[:, :probes]
        for s in range(0, len(good), _BLOCK)
    ]
    cell = np.concatenate(nearest).reshape(-1)
    rows = np.repeat(good, probes)
    order_by = np.argsort(cell, kind="stable")
    return np.split(rows[order_by], np.flatnonzero(np.diff(cell[order_by])) + 1)
