"""Diversity of words without a model: compression, distinct n-grams, self-repetition. Copying shows here; paraphrase does not.

All fall with more text: compare at a fixed budget. Compression and distinct-n favour short texts (2507.15092): cut texts to a
common length first (`cut`). Formulas: distinct-n (Li et al., 2016), compression ratio and self-repetition (Shaib et al.,
2403.00553). An n-gram is a run of hashed words (`metrics/text/hashed_words.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.errors import UsageError
from ratoon.metrics.stats.sketches import Sketch, distinct, merge
from ratoon.metrics.text import hashed_words as words

VERSION = "1"
Texts: TypeAlias = Sequence[str | None] | pa.Array | pa.ChunkedArray
_ZSTD_LEVEL = 9


def cut(texts: Texts, chars: int) -> pa.Array:
    """The texts that are there, each at most so many characters long."""
    return pc.utf8_slice_codeunits(_there(texts), 0, chars)


def compression_ratio(texts: Texts, codec: Literal["gzip", "zstd"] = "gzip", *, seed: int = 0) -> float | None:
    """Bytes of the joined texts over their compressed bytes, up = more alike; None where there is nothing.

    Texts are joined in an order that `seed` and their content decide. gzip sees 32 KB back, zstd megabytes.
    """
    there = _there(texts).to_pylist()
    salt = str(seed).encode()
    joined = "\n".join(
        sorted(there, key=lambda t: blake2b(t.encode("utf-8", "replace"), digest_size=8, salt=salt[:16]).digest())
    )
    data = joined.encode("utf-8", "replace")
    if not data.strip():
        return None
    if codec == "gzip":
        return len(data) / len(zlib.compress(data, 6))
    if codec != "zstd":
        raise UsageError(f"codec {codec!r} is unknown", "gzip or zstd")
    return len(data) / len(pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data))


def distinct_n(texts: Texts, n: int) -> float | None:
    """Unlike n-grams over all n-grams, 0 to 1, down = more alike; None where no text has `n` words."""
    grams, _ = n_grams(texts, n)
    return distinct_share(grams) if len(grams) else None


def distinct_share(grams: words.Hashes) -> float:
    """Unlike hashes over all of them; 0 of none."""
    return float((words.first_of(grams) == np.arange(len(grams))).mean()) if len(grams) else 0.0


def self_repetition(texts: Texts, n: int = 4) -> float | None:
    """Mean over texts of ln(1 + Σ (df - 1)) over a text's unlike n-grams, df = texts that have it; up = more alike.

    None where there is no text; one without n-grams adds 0.
    """
    grams, row = n_grams(texts, n)
    return repetition_of(grams, row, len(_there(texts)))


def repetition_of(grams: words.Hashes, row: NDArray[np.int64], rows: int) -> float | None:
    """`self_repetition` of n-grams already made: the hashes and the number of the text of each."""
    if not rows:
        return None
    pairs = words.mixed(grams + words.mixed(row.astype(np.uint64)))
    once = words.first_of(pairs) == np.arange(len(pairs))
    grams, row = grams[once], row[once]
    first = words.first_of(grams)
    df = np.bincount(first, minlength=len(first))[first]
    return float(np.log1p(np.bincount(row, df - 1.0, minlength=rows)).mean())


def n_grams(texts: Texts, n: int) -> tuple[words.Hashes, NDArray[np.int64]]:
    """Every run of `n` words as a hash, with the number of its text among those that are there. Raises UsageError on n < 1."""
    if n < 1:
        raise UsageError(f"n-grams of {n} words are impossible", "n is at least 1")
    keys: list[Any] = [np.zeros(0, np.uint64)]
    rows: list[Any] = [np.zeros(0, np.int64)]
    for batch in words.batches(_there(texts)):
        pieces = words.words(batch, words.kinds(batch))
        grams, at = words.n_grams(pieces, n)
        keys.append(grams)
        rows.append(pieces.row[at] + batch.first)
    return np.concatenate(keys), np.concatenate(rows)


def gram_sketches(texts: Texts, orders: Sequence[int] = (1, 2, 3, 4)) -> list[Sketch]:
    """How many unlike n-grams there are of each order, mergeable, from one pass over the texts."""
    parts: list[Sketch] = []
    for batch in words.batches(_there(texts), 1 << 21):
        pieces = words.words(batch, words.kinds(batch))
        grams, at = words.mixed(pieces.hashes), np.arange(len(pieces.hashes))
        end = pieces.starts[1:][pieces.row]
        for n in range(1, max(orders) + 1):
            if n in orders:
                parts.append(distinct(f"gram_{n}", grams, words.VERSION))
            fits = at + n < end[at]
            grams, at = grams[fits], at[fits]
            grams = words.longer(grams, pieces.hashes, at + n)
    return merge(parts)


def text_sketch(texts: Texts) -> Sketch:
    """How many unlike texts there are, mergeable: exact duplicates are the rest."""
    there = _there(texts).to_pylist()
    digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in there)
    return distinct("text", np.frombuffer(digests, np.uint64))


def _there(texts: Texts) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not isinstance(texts, pa.Array):
        texts = pa.array([t if t is None else t.encode("utf-8", "replace").decode() for t in texts], pa.string())
    return texts.drop_null()
