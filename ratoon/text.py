"""Text as sets and sequences: normalise, tokenise, shingle, ROUGE-L. Knows no table and no model's tokenizer.

`tokenise` cuts words as Unicode sees them: combining marks stay with their letter (Python's `\\w` drops them, which
tears Devanagari and Thai apart), and scripts written without spaces give one token per character. ROUGE-L is the
F-measure of the longest common subsequence (Lin, 2004), on rapidfuzz over integers.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Hashable, Sequence
from functools import cache
from typing import TypeVar

from rapidfuzz.distance import LCSseq

Token = TypeVar("Token", bound=Hashable)

# The four separators are white space to str.split and to Unicode, not to an ASCII \s.
_ASCII_TOKEN = re.compile(r"\w+|[^\w\s\x1c-\x1f]", re.ASCII)
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar: no spaces between words.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"


def normalise(text: str) -> str:
    """`text` in NFKC, casefolded, each run of white space one blank, none at the ends; idempotent.

    >>> normalise("  The ＳＵＭ\\n is\\t７ ")
    'the sum is 7'
    """
    if text.isascii():
        return " ".join(text.lower().split())
    # Folding can undo NFKC and NFKC can undo folding, so go on until neither has work left.
    while (folded := unicodedata.normalize("NFKC", text).casefold()) != text:
        text = folded
    return " ".join(text.split())


def tokenise(text: str) -> list[str]:
    """Words, and every other visible character by itself; case and width are left alone.

    >>> tokenise("It's 3.5 km, 東京!")
    ['It', "'", 's', '3', '.', '5', 'km', ',', '東', '京', '!']
    """
    return (_ASCII_TOKEN if text.isascii() else _unicode_token()).findall(text)


@cache
def _unicode_token() -> re.Pattern[str]:
    marks = _ranges([c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"])
    return re.compile(rf"[{_UNSPACED}][{marks}]*|(?:(?![{_UNSPACED}])[\w{marks}\u200c\u200d])+|[^\w\s]")


def _ranges(codes: Sequence[int]) -> str:
    """Sorted code points as the inside of a character class."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in spans)


def shingles(tokens: Sequence[Token], size: int) -> list[tuple[Token, ...]]:
    """Every run of `size` tokens in order; fewer tokens than that are one short shingle, none give none.

    >>> shingles(["a", "b", "c"], 2)
    [('a', 'b'), ('b', 'c')]
    """
    if size < 1:
        raise ValueError(f"a shingle of {size} tokens is impossible; size is at least 1")
    if not tokens:
        return []
    return [tuple(tokens[i : i + size]) for i in range(max(1, len(tokens) - size + 1))]


def rouge_l(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """ROUGE-L F-measure of two token sequences, 0 to 1: 2·LCS / (|a| + |b|); 0 where either is empty.

    >>> rouge_l("the cat sat".split(), "the cat ran off".split()) == 4 / 7
    True
    """
    if not a or not b:
        return 0.0
    numbers: dict[Hashable, int] = {}
    left = [numbers.setdefault(token, len(numbers)) for token in a]
    right = [numbers.setdefault(token, len(numbers)) for token in b]
    return 2 * LCSseq.similarity(left, right) / (len(left) + len(right))
