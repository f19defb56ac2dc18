"""Which text of a pool is nearest by ROUGE-L, and whether any is too near: exact, and indexed. Knows no table and no model.

A pair can reach F = 2·LCS / (|a| + |b|) ≥ t only if the two share at least t·|a| / (2 − t) tokens (counted with repeats) and
|b| lies between that number and (2 − t)·|a| / t. So of a text of n tokens that must share k, the n − k + 1 rarest hold at least
one shared token: those posting lists are read (more where that is cheap), lengths and the shared tokens counted so far thin out
what is found there, and the LCS is computed for the rest. Self-Instruct's check (arXiv 2212.10560) compares with the pool.
Tokens are `ratoon.text.tokenise` of the normalised text, so every script counts; the k-th occurrence of a word is a token of
its own.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from ratoon.errors import DataError
from ratoon.text import normalise, tokenise

_LIMIT = 0x10FFFF - 0x800 - 1  # code points that a token may be written as: all but the surrogates and 0
_UNKNOWN = "\x00"  # a query's token that no text of the pool holds
_EPSILON = 1e-9
_READ = 4  # postings worth reading per text of the pool


class Near(NamedTuple):
    """The text of the pool that is nearest, and how near: ROUGE-L F, 0 to 1."""

    id: str
    similarity: float


def tokens_of(text: str) -> list[str]:
    """The tokens that novelty counts: of the normalised text."""
    return tokenise(normalise(text))


class RougeIndex:
    """A growing pool of texts under ids. Ties go to the text that was added first."""

    def __init__(self, threshold: float) -> None:
        """Texts nearer than `threshold` or exactly as near are found, others are not. Raises ValueError outside (0, 1]."""
        if not 0 < threshold <= 1:
            raise ValueError(f"a threshold of {threshold} is impossible; it lies above 0 and is at most 1")
        self.threshold = threshold
        self._ids: list[str] = []
        self._texts: list[str] = []  # each token one code point: what rapidfuzz compares fastest
        self._lengths = array("i")
        self._points: dict[str, str] = {}
        self._postings: dict[tuple[str, int], array[int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Put a text into the pool. Raises DataError beyond 1,112,061 distinct tokens."""
        tokens = tokens_of(text)
        at = len(self._ids)
        for key in _numbered(tokens):
            self._postings.setdefault(key, array("i")).append(at)
        self._ids.append(id)
        self._texts.append("".join(map(self._point, tokens)))
        self._lengths.append(len(tokens))

    def nearest(self, text: str, without: Collection[str] = ()) -> Near | None:
        """The nearest text at or above the threshold whose id is not in `without`; None where all are farther.

        A blank text is near to nothing.
        """
        tokens = tokens_of(text)
        places = self._candidates(tokens)
        if without and len(places):
            places = places[[self._ids[place] not in without for place in places.tolist()]]
        if not len(places):
            return None
        query = "".join(self._points.get(token, _UNKNOWN) for token in tokens)
        others = [self._texts[place] for place in places.tolist()]
        # Indel's normalised similarity is 1 - (|a| + |b| - 2·LCS) / (|a| + |b|): ROUGE-L's F. Below the cut-off it is 0.
        found = cdist(
            [query], others, scorer=Indel.normalized_similarity, score_cutoff=self.threshold - _EPSILON, dtype=np.float64
        )[0]
        best = int(np.argmax(found))
        return Near(self._ids[places[best]], float(found[best])) if found[best] > 0 else None

    def _point(self, token: str) -> str:
        known = self._points.get(token)
        if known is None:
            number = len(self._points) + 1
            if number > _LIMIT:
                raise DataError(f"the pool holds more than {_LIMIT} distinct tokens", "compare with a smaller pool")
            known = self._points[token] = chr(number if number < 0xD800 else number + 0x800)
        return known

    def _candidates(self, tokens: Sequence[str]) -> np.ndarray:
        """Places of texts that share one of the rarest tokens and are of a length that allows the threshold, ascending."""
        n = len(tokens)
        share = self.threshold / (2 - self.threshold)
        needed = max(1, math.ceil(share * n - _EPSILON))
        lists = sorted((self._postings.get(key, _NONE) for key in _numbered(tokens)), key=len)
        read = self._worth_reading(lists, n - needed + 1)
        pieces = [np.frombuffer(places, np.int32) for places in lists[:read] if len(places)]
        if not pieces:
            return np.empty(0, np.int64)
        shared = np.bincount(np.concatenate(pieces))
        places = np.flatnonzero(shared)
        lengths = np.frombuffer(self._lengths, np.int32)[places]
        # In the lists not read at most n - read tokens can be shared.
        enough = shared[places] + (n - read) >= self.threshold * (n + lengths) / 2 - _EPSILON
        return places[enough & (lengths >= needed) & (lengths * share <= n + _EPSILON)]

    def _worth_reading(self, lists: Sequence[array[int]], least: int) -> int:
        """How many of the shortest lists: those that must be, and more while that costs less than comparing texts would."""
        budget, read = _READ * len(self._ids), least
        budget -= sum(map(len, lists[:least]))
        while read < len(lists) and (budget := budget - len(lists[read])) >= 0:
            read += 1
        return read


_NONE: array[int] = array("i")


def _numbered(tokens: Sequence[str]) -> list[tuple[str, int]]:
    """Each token with how often it came before, so that sharing two of a word is sharing two."""
    seen: dict[str, int] = {}
    numbered = []
    for token in tokens:
        count = seen.get(token, 0)
        numbered.append((token, count))
        seen[token] = count + 1
    return numbered
