"""Pairs of near-duplicate texts: candidates by bands of MinHash, every one checked by its true Jaccard, in bounded memory.

Texts come as a stream of batches. Band keys and shingles go to files in a folder as they are made; the bands are then read
back one partition at a time. Held in memory: ids, one word a row, one partition of one band, and the pairs. What comes out
depends on the rows only: not on their order, nor on how they were cut into batches.

Texts with the very same shingles are one node: edges of similarity 1 join them to the first of them, and it stands for them.
Against what was signed before (`Past`), only pairs with a new text are looked for, and only past texts that meet a new one
in a band are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.hashes import blocks
from ratoon.metrics.text.edges import edge_rows
from ratoon.metrics.text.minhash import MinHashConfig, Signed, edge_version, sign, version
from ratoon.metrics.text.spool import BandFiles, ShingleFile

KIND = "minhash"
_LEADERS, _WINDOW = 8, 4
_BLOCK_BYTES = 1 << 22
Batch = tuple[pa.Array, pa.Array]


class Past(NamedTuple):
    """Texts signed before: table `signatures` a batch at a time, and a way to read the texts of some ids again."""

    signatures: Callable[[], Iterable[pa.Table | pa.RecordBatch]]
    texts: Callable[[pa.Array], tuple[pa.Array, pa.Array]]


class Found(NamedTuple):
    """`edges` (table edges, a_id < b_id) and `signatures` (table signatures, of the new texts only)."""

    edges: pa.Table
    signatures: pa.Table


def near(batches: Iterable[Batch], config: MinHashConfig, folder: Path, past: Iterable[Past] = ()) -> Found:
    """Edges among the texts of `batches` (ids, texts) and to past ones, and the signatures that later calls need.

    `folder` must exist; it takes about 100 + 4 per shingle bytes a text while this runs, and is left empty. Ids are unique.
    Raises OSError when the folder is full.
    """
    with ShingleFile(folder) as shingles, BandFiles(folder, config.bands) as bands:
        rows = _Rows(config, shingles, bands)
        for ids, texts in batches:
            rows.add(ids, texts)
        signatures = rows.table()
        for earlier in past:
            rows.meet(earlier)
        return Found(_edges(rows, config), signatures)


class _Rows:
    """All that is held of the rows: ids, set hashes, how many of them are new; the rest is in files."""

    def __init__(self, config: MinHashConfig, shingles: ShingleFile, bands: BandFiles) -> None:
        self.config, self.shingles, self.bands = config, shingles, bands
        self.ids: list[pa.Array] = []
        self.sets: list[np.ndarray] = []
        self.counts: list[np.ndarray] = []
        self.signed: list[np.ndarray] = []
        self.new = self.n = 0

    def add(self, ids: pa.Array, texts: pa.Array) -> None:
        """Sign new texts."""
        self.signed += self._take(ids, texts)
        self.new = self.n

    def _take(self, ids: pa.Array, texts: pa.Array) -> Iterator[np.ndarray]:
        """Keep what is needed of each block of rows; its bands."""
        for begin, end in blocks(texts, self.config.block, _BLOCK_BYTES):
            made, found = sign(texts.slice(begin, end - begin), self.config)
            self._keep(ids.slice(begin, end - begin), made)
            self.shingles.append(found)
            yield made.bands

    def _keep(self, ids: pa.Array, made: Signed) -> None:
        filled = np.flatnonzero(made.counts)
        self.bands.append(made.bands[filled], self.n + filled)
        self.ids.append(ids.cast(pa.string()))
        self.sets.append(made.sets)
        self.counts.append(made.counts)
        self.n += len(ids)

    def table(self) -> pa.Table:
        """Table `signatures` of what was added so far."""
        n, width = self.n, self.config.bands
        bands = np.concatenate(self.signed) if self.signed else np.zeros((0, width), np.uint32)
        counts = np.concatenate([*self.counts, np.zeros(0, np.int64)])
        offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
        columns = {
            "subject_id": pa.chunked_array(self.ids, pa.string()),
            "kind": pa.repeat(KIND, n),
            "version": pa.repeat(version(self.config), n),
            "size": pa.array(counts, pa.int32()),
            "whole": pa.array(np.concatenate([*self.sets, np.zeros(0, np.uint64)]).view(np.int64)),
            "bands": pa.ListArray.from_arrays(offsets, pa.array(bands.reshape(-1).view(np.int32))),
        }
        self.signed.clear()
        return schema.from_columns("signatures", columns, n)

    def meet(self, past: Past) -> None:
        """Take in those past rows that share a band with a new one."""
        if not self.new:
            return
        own = [np.unique(self.bands.keys(band)) for band in range(self.config.bands)]
        for batch in past.signatures():
            ids, bands, size = _read(batch, self.config)
            met = np.zeros(len(ids), bool)
            for band, keys in enumerate(own):
                met |= _member(bands[:, band], keys)
            met &= size > 0
            if met.any():
                for _ in self._take(*past.texts(ids.filter(pa.array(met)))):
                    pass


def _read(batch: pa.Table | pa.RecordBatch, config: MinHashConfig) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    rows = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    rows = rows.filter(pc.and_(pc.equal(rows["kind"], KIND), pc.equal(rows["version"], version(config)))).combine_chunks()
    if not rows.num_rows:
        return pa.array([], pa.string()), np.zeros((0, config.bands), np.uint32), np.zeros(0, np.int32)
    flat = np.asarray(rows["bands"].combine_chunks().flatten()).view(np.uint32)
    return rows["subject_id"].combine_chunks(), flat.reshape(-1, config.bands), np.asarray(rows["size"])


def _member(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(keys):
        return np.zeros(len(values), bool)
    return keys[np.minimum(np.searchsorted(keys, values), len(keys) - 1)] == values


def _edges(rows: _Rows, config: MinHashConfig) -> pa.Table:
    if rows.n < 2:
        return schema.empty("edges")
    ids = pa.chunked_array(rows.ids).combine_chunks()
    rank = np.empty(rows.n, np.int64)
    rank[np.asarray(pc.sort_indices(ids))] = np.arange(rows.n)
    rank[rows.new :] -= rows.n  # a past row comes before every new one
    counts = np.concatenate(rows.counts)
    twins, stands = _same(np.concatenate(rows.sets), counts, rank, rows.new)
    pairs = _candidates(rows.bands, stands, rank, rows.new, config)
    similarity = _checked(pairs, rows.shingles)
    kept = similarity >= config.floor
    a, b = np.concatenate([twins[0], pairs[0][kept]]), np.concatenate([twins[1], pairs[1][kept]])
    return edge_rows(KIND, ids, a, b, np.concatenate([np.ones(len(twins[0])), similarity[kept]]), edge_version(config))


def _same(sets: np.ndarray, counts: np.ndarray, rank: np.ndarray, new: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Pairs (first, other) of texts with the same shingles, and per row whether it stands for its like."""
    order = np.lexsort((rank, sets))
    order = order[counts[order] > 0]
    first = np.ones(len(order), bool)
    first[1:] = sets[order][1:] != sets[order][:-1]
    leader = order[first][np.cumsum(first) - 1] if len(order) else order
    told = ~first & (order < new)
    stands = np.zeros(len(sets), bool)
    stands[order[first]] = True
    return (leader[told], order[told]), stands


def _candidates(
    bands: BandFiles, stands: np.ndarray, rank: np.ndarray, new: int, config: MinHashConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (the earlier by rank first) that share a bucket, each once; one partition of one band at a time."""
    found = np.zeros(0, np.uint64)
    waiting: list[np.ndarray] = []
    for keys, at in bands.partitions():
        chosen = stands[at]
        waiting.append(_in_buckets(keys[chosen], at[chosen], rank, new, config.bucket))
        if sum(map(len, waiting)) > len(found) + (1 << 16):
            found, waiting = np.unique(np.concatenate([found, *waiting])), []
    found = np.unique(np.concatenate([found, *waiting]))
    return (found >> np.uint64(32)).astype(np.int64), (found & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _in_buckets(keys: np.ndarray, at: np.ndarray, rank: np.ndarray, new: int, limit: int) -> np.ndarray:
    """Pairs of one partition as words (row << 32 | row)."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    alone = np.ones(len(order), bool)
    equal = sorted_keys[1:] == sorted_keys[:-1]
    alone[1:] &= ~equal
    alone[:-1] &= ~equal
    order = order[~alone]
    order = order[np.lexsort((rank[at[order]], keys[order]))]
    rows, keys = at[order], keys[order]
    edge = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]])) if len(keys) else np.zeros(1, np.int64)
    starts, sizes = edge[:-1], np.diff(edge)
    made = [np.zeros(0, np.uint64)]
    inside, size = np.arange(len(rows)) - np.repeat(starts, sizes), np.repeat(sizes, sizes)
    for step in range(1, min(limit, int(sizes.max(initial=0)))):  # the neighbour `step` further on
        far = (step > _WINDOW) & (size > limit) & (inside >= _LEADERS)
        made.append(_pairs(rows, np.flatnonzero((inside + step < size) & ~far), step, new))
    for start, length in zip(starts[sizes > limit], sizes[sizes > limit], strict=True):
        for leader in range(_LEADERS):
            others = np.arange(start + leader + limit, start + length)
            made.append(_word(np.full(len(others), rows[start + leader]), rows[others], new))
    return np.unique(np.concatenate(made))


def _pairs(rows: np.ndarray, first: np.ndarray, step: int, new: int) -> np.ndarray:
    return _word(rows[first], rows[first + step], new)


def _word(a: np.ndarray, b: np.ndarray, new: int) -> np.ndarray:
    wanted = b < new  # past rows come first in a bucket, so a pair is of two past rows exactly when its second is
    return a[wanted].astype(np.uint64) << np.uint64(32) | b[wanted].astype(np.uint64)


def _checked(pairs: tuple[np.ndarray, np.ndarray], shingles: ShingleFile, budget: int = 1 << 21) -> np.ndarray:
    """The true Jaccard of each pair, so many shingles at a time."""
    a, b = pairs
    cost = np.cumsum(shingles.counts(a) + shingles.counts(b))
    similarity = np.zeros(len(a))
    for begin, end in _cuts(cost, budget):
        similarity[begin:end] = jaccard(shingles, a[begin:end], b[begin:end])
    return similarity


def _cuts(cost: np.ndarray, budget: int) -> Iterator[tuple[int, int]]:
    begin = 0
    while begin < len(cost):
        spent = cost[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(cost, spent + budget, "right")))
        yield begin, end
        begin = end


def jaccard(shingles: ShingleFile, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|A ∩ B| / |A ∪ B| of the distinct shingles of row a[i] and of row b[i]."""
    rows, numbered = np.unique(np.concatenate([a, b]), return_inverse=True)
    values, offsets = shingles.distinct(rows)
    sizes = np.diff(offsets)
    left, right = numbered[: len(a)], numbered[len(a) :]
    number = np.arange(len(a), dtype=np.uint64) << np.uint64(32)
    both = np.concatenate([_gather(values, offsets, side) | np.repeat(number, sizes[side]) for side in (left, right)])
    both.sort()
    shared = np.bincount((both[1:][both[1:] == both[:-1]] >> np.uint64(32)).astype(np.int64), minlength=len(a))
    return shared / (sizes[left] + sizes[right] - shared)


def _gather(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    sizes = np.diff(offsets)[rows]
    ends = np.cumsum(sizes)
    return values[np.repeat(offsets[:-1][rows] - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)]
