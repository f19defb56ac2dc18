"""Texts as flat arrays of hashed words, made byte by byte with NumPy: what lint and the lexical numbers stand on.

A word is a run of letters, digits and underscores of any script; every other visible sign is a word by itself, and so is each
character of scripts written without spaces (told by the first byte of its UTF-8: Han, kana, Thai and their neighbours, emoji).
That is `ratoon.text.tokenise` up to rare signs, at fifty times its speed. Words are 64-bit hashes: two unlike words are taken
for one in about one of 10^19 pairs. Case counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

VERSION = "1"
SPACE, WORD, SIGN, REST = 0, 1, 2, 3  # what a byte is; REST continues the character before it
BATCH_BYTES = 1 << 19
_ODD = np.uint64(0x9E3779B97F4A7C15)
_random = np.random.default_rng(20261120)
_OF_BYTE: Hashes = _random.integers(1, 2**63, 256, np.uint64) | np.uint64(1)
_OF_PLACE: Hashes = _random.integers(1, 2**63, 4096, np.uint64) | np.uint64(1)


def _classes() -> Bytes:
    kind = np.full(256, WORD, np.uint8)
    signs = [b for b in range(128) if not (chr(b).isalnum() or chr(b) == "_")]
    kind[signs] = SIGN
    kind[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = SPACE
    kind[0x80:0xC0] = REST
    # Latin-1 signs, general punctuation, kana, Han, emoji; what begins with E0 or E1 is settled by its second byte.
    kind[[0xC2, 0xE2, 0xE3, *range(0xE4, 0xEA), 0xEF, *range(0xF0, 0xF8)]] = SIGN
    return kind


_KIND = _classes()
_OF_BYTE[_KIND == SPACE] = 0


class Batch(NamedTuple):
    """Consecutive rows: their UTF-8 bytes one after the other, and where each row begins (one more than rows)."""

    first: int
    data: Bytes
    starts: Ints

    @property
    def rows(self) -> int:
        return len(self.starts) - 1


class Pieces(NamedTuple):
    """Words (or lines) of a batch in order: hash, row, code points, first byte; `starts[r]` is the first piece of row r."""

    hashes: Hashes
    row: Ints
    chars: Ints
    at: Ints
    starts: Ints


def batches(texts: pa.Array | pa.ChunkedArray, most: int = BATCH_BYTES) -> Iterator[Batch]:
    """The rows in order, about `most` bytes at a time; a null is an empty row, a row longer than that a batch of its own."""
    first = 0
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        array = chunk.cast(pa.large_string()).fill_null("") if chunk.null_count else chunk.cast(pa.large_string())
        if len(array) == 0:
            continue
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
        start = 0
        while start < len(array):
            end = int(np.searchsorted(offsets, offsets[start] + most, "right")) - 1
            end = min(max(end, start + 1), len(array))
            low, high = int(offsets[start]), int(offsets[end])
            yield Batch(first + start, data[low:high], (offsets[start : end + 1] - low).astype(np.int64))
            start = end
        first += len(array)


def kinds(batch: Batch) -> Bytes:
    """What each byte is; bytes that continue a character are as their first."""
    kind = _KIND[batch.data]
    if len(kind) and batch.data.max() >= 0x80:
        one, two = batch.data[:-1], batch.data[1:]
        unspaced = (one == 0xE0) & (two >= 0xB8) | (one == 0xE1) & np.isin(two, (0x80, 0x81, 0x82, 0x9E, 0x9F))
        kind[:-1][unspaced] = SIGN
        kind[:-1][(one == 0xC2) & (two == 0xA0)] = SPACE  # no-break space
        kind[:-2][(one[:-1] == 0xE3) & (two[:-1] == 0x80) & (two[1:] == 0x80)] = SPACE  # the blank of Chinese and Japanese
        lead = np.maximum.accumulate(np.where(kind != REST, np.arange(len(kind)), 0))
        kind = kind[lead]
    return kind


def words(batch: Batch, kind: Bytes) -> Pieces:
    """The words of a batch."""
    begins = np.empty(len(kind), bool)
    if len(kind):
        new = kind == WORD
        begins[1:] = new[1:] & ~new[:-1]
        begins[0] = new[0]
        begins[_row_starts(batch)] |= new[_row_starts(batch)]
        begins |= (kind == SIGN) & ((batch.data & 0xC0) != 0x80)
    return _pieces(batch, np.flatnonzero(begins), kind != SPACE)


def segments(batch: Batch, separator: NDArray[np.bool_]) -> Pieces:
    """Runs of bytes between separators, within rows: lines, paragraphs. White space counts towards their length."""
    inside = ~separator
    begins = inside.copy()
    if len(begins):
        begins[1:] &= separator[:-1]
        begins[_row_starts(batch)] |= inside[_row_starts(batch)]
    return _pieces(batch, np.flatnonzero(begins), inside)


def _row_starts(batch: Batch) -> Ints:
    starts = batch.starts[:-1]
    return starts[starts < len(batch.data)]


def _pieces(batch: Batch, at: Ints, visible: NDArray[np.bool_]) -> Pieces:
    if not len(at):
        none = np.zeros(0, np.int64)
        return Pieces(none.astype(np.uint64), none, none, none, np.zeros(batch.rows + 1, np.int64))
    n = len(batch.data)
    place = np.arange(at[0], n, dtype=np.int64)
    place -= np.repeat(at, np.diff(at, append=n))
    place &= len(_OF_PLACE) - 1
    value = _OF_PLACE[place]
    value *= _OF_BYTE[batch.data[at[0] :]]
    shown = visible[at[0] :]
    if not shown.all():
        value *= shown
    hashes = mixed(np.add.reduceat(value, at - at[0]))
    lead = shown & ((batch.data[at[0] :] & 0xC0) != 0x80)
    chars = np.add.reduceat(lead, at - at[0], dtype=np.int64)
    starts = np.searchsorted(at, batch.starts).astype(np.int64)
    row = np.repeat(np.arange(batch.rows), np.diff(starts))
    return Pieces(hashes, row, chars, at, starts)


def mixed(values: Hashes) -> Hashes:
    """Every bit of the output depends on every bit of the input (the finish of SplitMix64)."""
    out = values ^ (values >> np.uint64(30))
    out *= np.uint64(0xBF58476D1CE4E5B9)
    out ^= out >> np.uint64(27)
    out *= np.uint64(0x94D049BB133111EB)
    out ^= out >> np.uint64(31)
    return out


def salted(pieces: Pieces) -> Hashes:
    """Hashes that are equal only within a row."""
    return mixed(pieces.hashes + pieces.row.astype(np.uint64) * _ODD)


def longer(grams: Hashes, hashes: Hashes, at: Ints) -> Hashes:
    """n-grams one word longer: `grams` begin anywhere, and the words at `at` are put behind them."""
    return mixed(grams * _ODD + hashes[at])


def n_grams(pieces: Pieces, n: int) -> tuple[Hashes, Ints]:
    """Hashes of all runs of `n` words within rows, and where each begins."""
    grams, at = mixed(pieces.hashes), np.arange(len(pieces.hashes))
    end = pieces.starts[1:][pieces.row]
    for size in range(1, n):
        fits = at + size < end[at]
        grams, at = grams[fits], at[fits]
        grams = longer(grams, pieces.hashes, at + size)
    return grams, at


def first_of(keys: Hashes) -> Ints:
    """For each key the place of the first that is equal to it, by scattering into a table; expected linear time."""
    n = len(keys)
    first = np.arange(n)
    left, values = first.copy(), keys
    while len(left):
        bits = max(8, int(2 * len(left)).bit_length())
        slot = (values >> np.uint64(64 - bits)).astype(np.int64)
        table = np.empty(1 << bits, np.int64)
        table[slot[::-1]] = np.arange(len(left))[::-1]  # of equal slots the last one written, the first in order, stays
        winner = table[slot]
        same = values[winner] == values
        first[left[same]] = left[winner[same]]
        left, values = left[~same], values[~same] * _ODD
    return first


def word_hash(word: str) -> np.uint64:
    """The hash that `words` gives one word."""
    batch = next(batches(pa.array([word])))
    return np.uint64(words(batch, kinds(batch)).hashes[0])


def count_by(row: Ints, rows: int, weights: Any = None) -> NDArray[Any]:
    """How many (or how much) in each row."""
    return np.bincount(row, weights, minlength=rows)
