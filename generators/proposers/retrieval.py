"""Passages of a folder of text, and which of them say most about a question (BM25: Robertson & Zaragoza 2009).

A file that is no text, is empty or is too large is a failure with its reason; the others go on. A passage is whole paragraphs
up to a size; a paragraph that is longer is cut at the end of a sentence, of a word where there is none, or hard.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ratoon import ids
from ratoon.errors import DataError
from ratoon.generators.proposers.formats import words
from ratoon.generators.tasks.task_rows import failure_row

_K1, _B = 1.2, 0.75
_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？।])")


@dataclass(frozen=True)
class Passage:
    """A piece of a document; the id is of its text, so equal passages are one."""

    passage_id: str
    where: str
    text: str


def read_folder(folder: Path, suffixes: Sequence[str], passage_chars: int, max_bytes: int, min_words: int) -> tuple[
    list[Passage], list[dict[str, Any]]
]:  # fmt: skip
    """Passages in the order of file names, and rows of `failures`. Raises DataError without a folder, a file or a passage."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "mend the arm's `path`; it is read relative to where ratoon is run")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes]
    if not files:
        raise DataError(f"{folder} holds no file of type {', '.join(suffixes)}", "mend the arm's `path` or `suffixes`")
    passages: dict[str, Passage] = {}
    failures = []
    for path in files:
        where = path.relative_to(folder).as_posix()
        text = _text(path, max_bytes)
        pieces = [p for p in cut(text, passage_chars) if len(words(p)) >= min_words] if isinstance(text, str) else []
        if isinstance(text, tuple):
            failures.append(failure_row(where, *text))
        elif not pieces:
            failures.append(failure_row(where, "Short", f"no passage of {min_words} words"))
        for number, piece in enumerate(pieces):
            passage_id = f"passage_{blake2b(piece.encode(), digest_size=12).hexdigest()}"
            passages.setdefault(passage_id, Passage(passage_id, f"{where}#{number}", piece))
    if not passages:
        raise DataError(f"no file under {folder} holds a passage: {failures[0]['message']}", "give plain text in UTF-8")
    return list(passages.values()), failures


def _text(path: Path, max_bytes: int) -> str | tuple[str, str]:
    """The file's text, or why there is none: class and message of a failure."""
    size = path.stat().st_size
    if size > max_bytes:
        return "TooLarge", f"{size} bytes; max_bytes is {max_bytes}"
    try:
        content = path.read_bytes()
    except OSError as error:
        return "Unreadable", str(error.strerror)
    if b"\0" in content:
        return "Binary", "it holds zero bytes: no text"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return "NotUtf8", f"byte {error.start} is not valid UTF-8"
    return text if text.strip() else ("Empty", "nothing but white space")


def cut(text: str, size: int) -> list[str]:
    """The text in passages of at most `size` characters; nothing but white space between them is lost.

    >>> cut("One. Two.\\n\\nThree three.", 12)
    ['One. Two.', 'Three three.']
    """
    passages: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        for piece in _pieces(" ".join(paragraph.split()), size):
            if passages and len(passages[-1]) + len(piece) + 1 <= size:
                passages[-1] += f"\n{piece}"
            else:
                passages.append(piece)
    return passages


def _pieces(paragraph: str, size: int) -> list[str]:
    """A paragraph in pieces of at most `size`: whole sentences, else words, else characters."""
    if len(paragraph) <= size:
        return [paragraph] if paragraph else []
    sentences = [part for part in _END.split(paragraph) if part]
    if len(sentences) > 1:
        return _packed([piece for s in sentences for piece in _pieces(s, size)], size)
    parts = paragraph.split(" ")
    if len(parts) > 1:
        return _packed([piece for part in parts for piece in _pieces(part, size)], size)
    return [paragraph[i : i + size] for i in range(0, len(paragraph), size)]


def _packed(pieces: Sequence[str], size: int) -> list[str]:
    packed: list[str] = []
    for piece in pieces:
        if packed and len(packed[-1]) + len(piece) + 1 <= size:
            packed[-1] += f" {piece}"
        else:
            packed.append(piece)
    return packed


class Bm25:
    """Passages by what they say about a question."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self._counts = [Counter(words(p.text)) for p in passages]
        self._lengths = [sum(c.values()) for c in self._counts]
        self._mean = sum(self._lengths) / max(1, len(passages))
        self._places: dict[str, list[int]] = {}
        for place, counts in enumerate(self._counts):
            for word in counts:
                self._places.setdefault(word, []).append(place)

    def weight(self, word: str) -> float:
        """How much a word tells: the fewer passages hold it the more, most where none does."""
        held = len(self._places.get(word, ()))
        return math.log(1 + (len(self.passages) - held + 0.5) / (held + 0.5))

    def best(self, question: str, k: int) -> list[Passage]:
        """At most `k` passages that share a word with the question, best first; ties go by passage id."""
        scores: dict[int, float] = {}
        for word in sorted(set(words(question))):
            weight = self.weight(word)
            for place in self._places.get(word, ()):
                count = self._counts[place][word]
                norm = _K1 * (1 - _B + _B * self._lengths[place] / self._mean)
                scores[place] = scores.get(place, 0.0) + weight * count * (_K1 + 1) / (count + norm)
        order = sorted(scores, key=lambda place: (-round(scores[place], 9), self.passages[place].passage_id))
        return [self.passages[place] for place in order[:k]]


def version(passages: Sequence[Passage]) -> str:
    """The digest of all passages: an edited folder asks other questions."""
    return ids.digest(sorted(p.passage_id for p in passages))
