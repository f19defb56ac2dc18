"""Text to hashed shingles, a column at a time in numpy; knows no table and decides nothing.

Tokens are those of `text.tokenise(text.normalise(text))`: words, and every other visible character by itself, so that
`3 + 4` and `3 - 4` differ. ASCII text is cut on its bytes; any other text takes the slow way through Python.
A hash is 64 bits of splitmix64 (Steele et al., 2014) over the token hashes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.text import normalise, tokenise

Unit = Literal["words", "chars"]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LONG = 512  # bytes of a token beyond which it is hashed by itself
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


class Shingles(NamedTuple):
    """Hashes `[n_shingles]` uint64 of all rows in order, repeats included; row i owns `offsets[i]:offsets[i + 1]`."""

    hashes: np.ndarray
    offsets: np.ndarray


def shingle(texts: pa.Array, unit: Unit = "words", size: int = 5) -> Shingles:
    """Hashes of every run of `size` words (or characters) of each text; fewer tokens than that are one short shingle.

    A null or empty text has none. Whole batches of about a megabyte are quickest: everything is held at once.
    """
    tokens = _word_tokens(texts) if unit == "words" else _char_tokens(texts)
    return _runs(tokens, size)


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 over uint64: every bit of the input reaches every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def plain(texts: pa.Array) -> pa.Array:
    """The column with null as empty and every text that is not ASCII as its tokens, a blank between two."""
    texts = texts.cast(pa.string()).fill_null("")
    odd = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(odd).as_py():
        return texts
    spaced = [" ".join(tokenise(normalise(text))) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(spaced, pa.string()))


def _word_tokens(texts: pa.Array) -> Shingles:
    data, rows = _bytes(plain(texts))
    upper = (data - np.uint8(65)) < 26
    data |= upper.view(np.uint8) << np.uint8(5)
    word = ((data - np.uint8(97)) < 26) | ((data - np.uint8(48)) < 10) | (data == 95) | (data >= 128)
    space = (data == 32) | ((data - np.uint8(9)) < 5) | ((data - np.uint8(28)) < 4)
    begins, ends = word.copy(), word.copy()
    begins[1:] &= ~word[:-1]
    ends[:-1] &= ~word[1:]
    inner = rows[1:-1][(rows[1:-1] > 0) & (rows[1:-1] < len(data))]
    begins[inner] |= word[inner]
    ends[inner - 1] |= word[inner - 1]
    single = ~(word | space)
    starts, stops = np.flatnonzero(begins | single), np.flatnonzero(ends | single) + 1
    return Shingles(_token_hashes(data, starts, stops), np.searchsorted(starts, rows))


def _bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A copy of the column's bytes, and where each row begins in it, with one more entry for the end."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if not len(offsets) or texts.buffers()[2] is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    data = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].copy()
    return data, offsets - offsets[0]


def _token_hashes(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Eight bytes at a time: most words need one step."""
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


def _char_tokens(texts: pa.Array) -> Shingles:
    rows = [normalise(text or "") for text in texts.to_pylist()]
    points = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), np.uint32)
    offsets = np.cumsum([0, *map(len, rows)])
    return Shingles(mix(points.astype(np.uint64) + _MULTIPLIER), offsets)


def _runs(tokens: Shingles, size: int) -> Shingles:
    """Every run of `size` tokens inside a row, folded into one hash."""
    counts = np.diff(tokens.offsets)
    made = np.where(counts > 0, np.maximum(counts - size + 1, 1), 0)
    offsets = np.concatenate([[0], np.cumsum(made)])
    # The shingle that begins at token t of a row stands at t of its row: shift each row by what it lacks.
    at = np.repeat(tokens.offsets[:-1] - offsets[:-1], made) + np.arange(offsets[-1])
    held = np.minimum(np.repeat(counts, made), size)
    if len(held) and held.min() == size:
        return Shingles(_fold(tokens.hashes, at, size), offsets)
    hashes = np.zeros(len(at), np.uint64)
    for length in np.unique(held):
        chosen = np.flatnonzero(held == length)
        hashes[chosen] = _fold(tokens.hashes, at[chosen], int(length))
    return Shingles(hashes, offsets)


def _fold(hashes: np.ndarray, at: np.ndarray, length: int) -> np.ndarray:
    folded = hashes[at]
    for j in range(1, length):
        folded = folded * _MULTIPLIER + hashes[at + j]
    return mix(folded + np.uint64(length))
