"""Rows of delimited text; delimiter and encoding are found from its bytes and told. An empty field is null.

A number of a row counts the header as 1. Bytes that are no UTF-8 in a file with other text outside ASCII in UTF-8 cost their
row; in a file without any, all is taken for Windows-1252, or Latin-1 where that has no such byte.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

from ratoon.errors import DataError
from ratoon.rows.batches import UTF8, unlike_names
from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import SourceFile, marked_encoding, text_stream, utf8

DELIMITERS = (",", "\t", ";", "|")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_SAMPLE = 1 << 16
_FIELD = 1 << 30  # characters of a field; the module's own limit is 131,072
_UTF8_CHARACTER = re.compile(
    rb"[\xc3-\xdf][\x80-\xbf](?![\x80-\xbf])|[\xe0-\xef][\x80-\xbf]{2}(?![\x80-\xbf])|[\xf0-\xf4][\x80-\xbf]{3}"
)
_ESCAPED = re.compile("[\udc80-\udcff]")


def columns(source: SourceFile) -> list[str]:
    """The header. Raises DataError where it names two columns alike or the file is empty."""
    rows, _ = _rows(source)
    return unlike_names([name for name in next(rows, []) if name], source.path)


def chunks(source: SourceFile, wanted: Collection[str] | None, note: Callable[[str], None]) -> Iterator[Chunk]:
    """Its rows; blank lines are none. Raises DataError where quotes are left open."""
    rows, told = _rows(source)
    for text in told:
        note(text)
    header = next(rows, [])
    unlike_names([name for name in header if name], source.path)
    part = Chunk([], [], [])
    for number, fields in enumerate(rows, 2):
        if not fields:
            continue
        where = f"{source.name}:row {number}"
        if problem := _problem(fields, header):
            part.problems.append((where, problem))
        else:
            part.places.append(where)
            part.rows.append({name: field or None for name, field in zip(header, fields, strict=True) if name})
        if len(part.places) + len(part.problems) >= CHUNK:
            yield part
            part = Chunk([], [], [])
    yield part


def _problem(fields: list[str], header: list[str]) -> str | None:
    if len(fields) != len(header):
        return f"{len(fields)} fields under a header of {len(header)}"
    return UTF8 if any(not field.isascii() and _ESCAPED.search(field) for field in fields) else None


def _rows(source: SourceFile) -> tuple[Iterator[list[str]], list[str]]:
    """Rows of fields, the header first, and sentences on delimiter and encoding where they are not the usual ones."""
    text, encoding = decoded(source)
    delimiter = delimiter_of(text, "\t" if ".tsv" in source.path.suffixes else ",")
    told = []
    if encoding != "utf-8":
        told.append(f"{source.name} is {encoding}")
    if delimiter != ",":
        told.append(f"{source.name}: the delimiter is a {_NAMES[delimiter]}")
    return _parsed(text, delimiter, source), told


def _parsed(text: str, delimiter: str, source: SourceFile) -> Iterator[list[str]]:
    csv.field_size_limit(_FIELD)
    try:
        yield from csv.reader(text_stream(text), delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise DataError(f"{source.path} is no readable CSV: {error}", "quote fields that hold quotes or line breaks") from None


def decoded(source: SourceFile) -> tuple[str, str]:
    """The text and its encoding; bytes that are no UTF-8 come as surrogates. Raises DataError on an empty file."""
    content = source.read()
    if not content.strip():
        raise DataError(f"{source.path} is empty", "give a file with a header and rows")
    if marked_encoding(content) is not None:
        content, encoding = utf8(content, source.path)
        return content.decode("utf-8", "surrogateescape"), encoding
    encoding = _guessed(content)
    # Half a character at the end of UTF-16 is no byte that a surrogate could stand for.
    return content.decode(encoding, "replace" if encoding.startswith("utf-16") else "surrogateescape"), encoding


def _guessed(content: bytes) -> str:
    """The encoding of bytes without a mark."""
    if content.count(0) > len(content) // 4:  # UTF-16: every other byte of ASCII is 0
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        content.decode()
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    if _UTF8_CHARACTER.search(content):
        return "utf-8"
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in set(content)) else "latin-1"


@lru_cache(maxsize=8)
def delimiter_of(text: str, usual: str = ",") -> str:
    """The delimiter under which the first rows have as many fields as the header, and most of them.

    >>> delimiter_of("prompt;completion\\na, b;c\\n")
    ';'
    """
    lines = text[:_SAMPLE]
    if len(text) > _SAMPLE:
        lines = lines[: lines.rfind("\n") + 1] or lines
    scores = {mark: _score(lines, mark) for mark in DELIMITERS}
    best = max(scores.values())
    return usual if scores[usual] == best else max(DELIMITERS, key=scores.__getitem__)


def _score(text: str, delimiter: str) -> tuple[float, int]:
    """The share of rows as wide as the header, and its width; 0 for one column."""
    csv.field_size_limit(_FIELD)
    widths: list[int] = []
    try:
        for row, _ in zip(csv.reader(text_stream(text), delimiter=delimiter), range(100), strict=False):
            widths += [len(row)] if row else []
    except csv.Error:
        return 0.0, 0
    if not widths or widths[0] < 2:
        return 0.0, 0
    rows = widths[1:] or widths
    return sum(width == widths[0] for width in rows) / len(rows), widths[0]
