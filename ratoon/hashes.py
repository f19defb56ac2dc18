"""Hashes of text a column at a time, in numpy: tokens on their bytes, and whole texts as equal once normalised.

Tokens: 64 bits by the finalizer of splitmix64 (Steele et al., 2014). A whole text has 128 of XXH3: two texts of a billion
share them with a chance below 1e-20, so equal digests are read as equal texts (of texts that nobody made to collide: what
must stand against an enemy is in `ratoon.store.digests`). Knows no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from ratoon.text import normalise

VERSION = "2"
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LONG = 512  # bytes of a token beyond which it is hashed by itself
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_BLOCK_BYTES = 1 << 19


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 over uint64: every bit of the input reaches every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def text_digests(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """`[n, 2]` uint64, XXH3 of the normalised text (`text.normalise`), so equal where those are; a null has that of none."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    made = [_digests(chunk.slice(begin, end - begin)) for chunk in chunks for begin, end in blocks(chunk, 4096, _BLOCK_BYTES)]
    return np.concatenate([np.zeros((0, 2), np.uint64), *made])


def _digests(texts: pa.Array) -> np.ndarray:
    texts = texts.cast(pa.string()).fill_null("")
    other = pa.array(_unsettled(texts))
    folded = pc.ascii_lower(texts)
    if pc.any(other).as_py():
        settled = [normalise(text) for text in texts.filter(other).to_pylist()]
        folded = pc.replace_with_mask(folded, other, pa.array(settled, pa.string()))
    found = [xxh3_128_digest(text) for text in folded.cast(pa.binary()).to_pylist()]
    return np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)


def _unsettled(texts: pa.Array) -> np.ndarray:
    """Rows that small letters alone do not normalise: bytes beyond printable ASCII, or blanks in a row or at an end."""
    data, rows = data_of(texts)
    if not len(data):
        return np.zeros(len(texts), bool)
    blank = data == 32
    at = np.flatnonzero((data - np.uint8(32)) > 94)
    doubled = np.flatnonzero(blank[1:] & blank[:-1])
    found = np.zeros(len(texts), bool)
    found[np.searchsorted(rows, np.concatenate([at, doubled]), "right") - 1] = True
    filled = np.flatnonzero(rows[1:] > rows[:-1])
    found[filled] |= blank[rows[filled]] | blank[rows[filled + 1] - 1]
    return found


def blocks(texts: pa.Array, rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Cuts of at most so many rows and, unless a single one is longer, so many bytes."""
    ends = np.cumsum(np.asarray(pc.fill_null(pc.binary_length(texts), 0)), dtype=np.int64)
    begin = 0
    while begin < len(ends):
        spent = ends[begin - 1] if begin else 0
        end = min(begin + rows, max(begin + 1, int(np.searchsorted(ends, spent + size, "right"))), len(ends))
        yield begin, end
        begin = end


def data_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A copy of a string column's bytes, and where each row begins in it, with one more entry for the end."""
    if not len(texts) or texts.buffers()[2] is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].copy(), offsets - offsets[0]


def fold(data: np.ndarray) -> None:
    """ASCII capitals become small letters, in place."""
    upper = (data - np.uint8(65)) < 26
    data |= upper.view(np.uint8) << np.uint8(5)


def is_space(data: np.ndarray) -> np.ndarray:
    """What `str.split` cuts at, of ASCII."""
    return (data == 32) | ((data - np.uint8(9)) < 5) | ((data - np.uint8(28)) < 4)


def runs(inside: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of marked bytes begins and ends; none reaches over the border of a row."""
    begins, ends = inside.copy(), inside.copy()
    begins[1:] &= ~inside[:-1]
    ends[:-1] &= ~inside[1:]
    inner = rows[1:-1][(rows[1:-1] > 0) & (rows[1:-1] < len(inside))]
    begins[inner] |= inside[inner]
    ends[inner - 1] |= inside[inner - 1]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def token_hashes(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The hash of each stretch of bytes, eight at a time: most words need one step."""
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    eights = np.ndarray((len(data),), "<u8", buffer=padded.data, strides=(1,))
    lengths = stops - starts
    hashes = mix((eights[starts] & _MASKS[np.minimum(lengths, 8)]) + _MULTIPLIER)
    more = np.flatnonzero((lengths > 8) & (lengths <= _LONG))
    done = 8
    while len(more):
        left = np.minimum(lengths[more] - done, 8)
        hashes[more] = mix((hashes[more] ^ (eights[starts[more] + done] & _MASKS[left])) + _MULTIPLIER)
        done += 8
        more = more[lengths[more] > done]
    for i in np.flatnonzero(lengths > _LONG):
        token = data[starts[i] : stops[i]].tobytes()
        hashes[i] = int.from_bytes(blake2b(token, digest_size=8).digest(), "little")
    return hashes
