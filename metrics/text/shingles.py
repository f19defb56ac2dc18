"""Text to hashed shingles, a column at a time in numpy; knows no table and decides nothing.

Tokens are those of `text.tokenise(text.normalise(text))`: words, and every other visible character by itself, so that
`3 + 4` and `3 - 4` differ. ASCII text is cut on its bytes; any other text takes the slow way through Python.
A hash is 64 bits over the token hashes (`ratoon.hashes`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.hashes import data_of, fold, is_space, mix, runs, token_hashes
from ratoon.text import normalise, tokenise

Unit = Literal["words", "chars"]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


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


def plain(texts: pa.Array) -> pa.Array:
    """The column with null as empty and every text that is not ASCII as its tokens, a blank between two."""
    texts = texts.cast(pa.string()).fill_null("")
    odd = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(odd).as_py():
        return texts
    spaced = [" ".join(tokenise(normalise(text))) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(spaced, pa.string()))


def _word_tokens(texts: pa.Array) -> Shingles:
    data, rows = data_of(plain(texts))
    fold(data)
    word = ((data - np.uint8(97)) < 26) | ((data - np.uint8(48)) < 10) | (data == 95) | (data >= 128)
    starts, stops = runs(word, rows)
    single = np.flatnonzero(~(word | is_space(data)))
    if len(single):
        starts, stops = np.sort(np.concatenate([starts, single])), np.sort(np.concatenate([stops, single + 1]))
    return Shingles(token_hashes(data, starts, stops), np.searchsorted(starts, rows))


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
