"""A text file: a row a line, or a row a paragraph where lines are hard-wrapped, in column `text`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import SourceFile, utf8

_WIDEST = 120  # characters of a wrapped line


def columns(source: SourceFile) -> list[str]:
    """One column."""
    return ["text"]


def chunks(source: SourceFile, wanted: Collection[str] | None, note: Callable[[str], None]) -> Iterator[Chunk]:
    """Its lines but blank ones, or its paragraphs; bytes that are no UTF-8 become U+FFFD."""
    content = source.read()
    # Two odd bytes at the front of a text are a mark only where the rest is in that encoding.
    try:
        content, encoding = utf8(content, source.path)
    except ValueError:
        encoding = "utf-8"
    if encoding != "utf-8":
        note(f"{source.name} is {encoding}")
    rows, wrapped = _rows(content.decode("utf-8", "replace").splitlines())
    if wrapped:
        note(f"{source.name} has hard-wrapped lines: a row a paragraph")
    for at in range(0, len(rows), CHUNK):
        part = rows[at : at + CHUNK]
        yield Chunk([f"{source.name}:{n}" for n, _ in part], [{"text": line} for _, line in part], [])


def _rows(lines: list[str]) -> tuple[list[tuple[int, str]], bool]:
    """Number and text of each row, and whether a row is a paragraph: where lines are wrapped, their ends are blanks.

    >>> _rows(["one", "two"])
    ([(1, 'one'), (2, 'two')], False)
    """
    paragraphs: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(lines, 1):
        if line.strip():
            paragraphs[-1].append((number, line))
        elif paragraphs[-1]:
            paragraphs.append([])
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if not _wrapped(paragraphs):
        return [row for paragraph in paragraphs for row in paragraph], False
    return [(paragraph[0][0], "\n".join(line for _, line in paragraph)) for paragraph in paragraphs], True


def _wrapped(paragraphs: list[list[tuple[int, str]]]) -> bool:
    """Whether nearly all lines that another follows in their paragraph reach close to one width."""
    inner = [len(line) for paragraph in paragraphs for _, line in paragraph[:-1]]
    width = max((len(line) for paragraph in paragraphs for _, line in paragraph), default=0)
    return len(inner) >= 2 and width <= _WIDEST and sum(n >= 0.75 * width for n in inner) >= 0.9 * len(inner)
