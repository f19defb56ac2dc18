"""MinHash signatures and their bands (Broder, 1997; banding after Leskovec et al., ch. 3), a column of texts at a time.

With b bands of r rows two texts of Jaccard s meet in a band with probability 1 - (1 - s^r)^b: for the default 20 x 8 that
is .08 at .5, .97 at .8 and 1.00 at .9 (14 x 8, the preset of datatrove and FineWeb: .05, .92, 1.00; every pair is checked
here, so more candidates cost little and harm nothing). Knows no pair: `near` finds them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import ids
from ratoon.config import Config, operational, semantic, semantic_digest
from ratoon.hashes import mix
from ratoon.metrics.text.shingles import Shingles, Unit, shingle

VERSION = "1"


class MinHashConfig(Config):
    """What a near-duplicate is measured by."""

    unit: Unit = Field("words", description="shingles of words, or of characters: better for texts under about 20 words")
    size: int = Field(5, ge=1, le=64, description="words or characters in a shingle")
    bands: int = Field(20, ge=1, le=512, description="bands of a signature: more find more pairs, at more false candidates")
    rows: int = Field(8, ge=1, le=64, description="hashes in a band: more find fewer pairs")
    seed: int = Field(0, ge=0, description="seed of the hash functions; unlike seeds are never compared")
    floor: float = Field(0.5, gt=0, le=1, description="least true Jaccard of a pair that is kept as an edge")
    bucket: int = Field(
        24,
        ge=2,
        description="texts in one bucket beyond which not every pair of it is looked at, but those with its first members",
    )
    block: int = operational(512, ge=1, description="texts worked on at once")


class Signed(NamedTuple):
    """Bands `[n, bands]` uint32; `sets` uint64 equal where texts have the same shingles; `counts` of them, 0 without text."""

    bands: np.ndarray
    sets: np.ndarray
    counts: np.ndarray


def version(config: MinHashConfig) -> str:
    """What signatures must share to be compared."""
    fields = semantic(config)
    return f"{VERSION}:{ids.digest({k: fields[k] for k in ('unit', 'size', 'bands', 'rows', 'seed')})[:12]}"


def edge_version(config: MinHashConfig) -> str:
    """The same for edges, which also depend on what was looked at and kept."""
    return f"{VERSION}:{semantic_digest(config)[:12]}"


def estimate(texts: pa.Array, config: MinHashConfig) -> np.ndarray:
    """Whole signatures `[n, bands * rows]` uint32; the share of equal columns of two rows estimates their Jaccard.

    Rows without a shingle are all ones: compare none of them.
    """
    made = shingle(texts, config.unit, config.size)
    return _minima(made, config).T


def sign(texts: pa.Array, config: MinHashConfig) -> tuple[Signed, Shingles]:
    """Band keys of every text, and the shingles they were made of."""
    made = shingle(texts, config.unit, config.size)
    counts = np.diff(made.offsets)
    return Signed(_bands(_minima(made, config), config), _set_hashes(made, counts), counts), made


def _minima(made: Shingles, config: MinHashConfig) -> np.ndarray:
    """`[hashes, n]`: the least value of each hash function over each row's shingles."""
    n, k = len(made.offsets) - 1, config.bands * config.rows
    out = np.full((k, n), np.iinfo(np.uint32).max, np.uint32)
    filled = np.flatnonzero(np.diff(made.offsets))
    if not len(filled):
        return out
    starts = made.offsets[:-1][filled]
    hashes = (made.hashes >> np.uint64(32)).astype(np.uint32)
    turned = np.empty_like(hashes)
    xors, factors = _functions(config)
    whole = len(filled) == n
    for i in range(k):
        np.bitwise_xor(hashes, xors[i], out=turned)
        np.multiply(turned, factors[i], out=turned)
        if whole:
            np.minimum.reduceat(turned, starts, out=out[i])
        else:
            out[i, filled] = np.minimum.reduceat(turned, starts)
    return out


def _functions(config: MinHashConfig) -> tuple[np.ndarray, np.ndarray]:
    """Per hash function a word to xor with and an odd factor; by our own generator, so that no library's version moves them."""
    k = config.bands * config.rows
    drawn = mix(np.arange(1, 2 * k + 1, dtype=np.uint64) + mix(np.array([config.seed], np.uint64)))
    words = (drawn >> np.uint64(32)).astype(np.uint32)
    return words[:k], words[k:] | np.uint32(1)


def _bands(minima: np.ndarray, config: MinHashConfig) -> np.ndarray:
    folded = np.zeros((config.bands, minima.shape[1]), np.uint64)
    for row in minima.reshape(config.bands, config.rows, -1).swapaxes(0, 1):
        folded *= np.uint64(0x9E3779B97F4A7C15)
        folded += row
    return (mix(folded) >> np.uint64(32)).astype(np.uint32).T


def _set_hashes(made: Shingles, counts: np.ndarray) -> np.ndarray:
    """One word per row over its shingles and how often each comes, in any order."""
    sums = np.zeros(len(counts), np.uint64)
    filled = np.flatnonzero(counts)
    if len(filled):
        sums[filled] = np.add.reduceat(mix(made.hashes), made.offsets[:-1][filled])
    return mix(sums + counts.astype(np.uint64))
