"""Rows of JSON: an object a line, a list of objects, objects over several lines, or one object that holds the rows.

Which of these it is its content says, not its suffix. Numbers of lines count from 1, of a list's rows from 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

import orjson

from ratoon.errors import DataError
from ratoon.rows.batches import UTF8
from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import SourceFile, marked_encoding, utf8

_LOOKED = 10_000  # rows whose keys are the columns
# Where an object that holds rows among other things has them.
_ROWS_UNDER = ("data", "rows", "examples", "records")
Note = Callable[[str], None]
Lines = Iterator[tuple[int, bytes]]


def columns(source: SourceFile) -> list[str]:
    """All keys of the first 10,000 rows, in the order in which they come. Raises DataError on an empty file."""
    names: dict[str, None] = {}
    rows = 0
    for chunk in chunks(source, None, lambda _: None):
        for row in chunk.rows:
            names.update(dict.fromkeys(row))
        rows += len(chunk.rows)
        if rows >= _LOOKED:
            break
    return list(names)


def chunks(source: SourceFile, wanted: Collection[str] | None, note: Note) -> Iterator[Chunk]:
    """Its rows; a line that is no JSON object is a problem. Raises DataError on an empty file or a list left open."""
    if not _in_lines(source):
        content, encoding = utf8(source.read(), source.path)
        if not content.strip():
            raise DataError(f"{source.path} is empty", "give a file with an object a line, or a list of objects")
        if encoding != "utf-8":
            note(f"{source.name} is {encoding}")
        rows = _whole(content, source, note)
        if rows is not None:
            yield from _listed(rows, source.name)
            return
        yield from _of_lines(enumerate(content.split(b"\n"), 1), source.name)
        return
    yield from _of_lines(enumerate(source.lines(), 1), source.name)


def loads(text: bytes) -> Any:
    """A JSON value; also with NaN, lone surrogates and whole numbers of any size. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode())


def _in_lines(source: SourceFile) -> bool:
    """Whether the first line that is not blank is an object by itself, in UTF-8, and another line follows."""
    seen = 0
    for number, line in enumerate(source.lines()):
        if number == 0 and marked_encoding(line[:4]) not in (None, "utf-8"):
            return False
        if not line.strip():
            continue
        seen += 1
        if seen == 2:
            return True
        try:
            value = loads(_bare(line))
        except (ValueError, RecursionError):
            return False
        if not isinstance(value, dict):
            return False
    return False


def _bare(line: bytes) -> bytes:
    return line.removeprefix(b"\xef\xbb\xbf")


def _of_lines(lines: Iterator[tuple[int, bytes]], name: str) -> Iterator[Chunk]:
    part = Chunk([], [], [])
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            row = loads(_bare(line))
        except UnicodeDecodeError:
            part.problems.append((where, UTF8))
        except (ValueError, RecursionError) as error:
            part.problems.append((where, f"not JSON: {error}"))
        else:
            _take(part, where, row)
        if len(part.places) + len(part.problems) >= CHUNK:
            yield part
            part = Chunk([], [], [])
    yield part


def _take(part: Chunk, where: str, row: Any) -> None:
    if isinstance(row, dict):
        part.places.append(where)
        part.rows.append(row)
    else:
        part.problems.append((where, f"a JSON {type(row).__name__}, not an object"))


def _listed(rows: list[Any], name: str) -> Iterator[Chunk]:
    for at in range(0, len(rows), CHUNK):
        part = Chunk([], [], [])
        for i, row in enumerate(rows[at : at + CHUNK], at):
            _take(part, f"{name}:{i}", row)
        yield part


def _whole(content: bytes, source: SourceFile, note: Note) -> list[Any] | None:
    """The rows of content that is one JSON value or several over more than a line each; None where it is lines.

    Raises DataError on a list that does not end.
    """
    try:
        value = loads(content)
    except (ValueError, RecursionError) as error:
        rows = _several(content)
        if rows is None and content.lstrip()[:1] == b"[":
            raise DataError(f"{source.path} is no readable JSON: {error}", "write it anew") from None
        return rows
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    rows = _of_object(value, source, note)
    return None if rows == [value] and b"\n" not in content.strip() else rows  # one line is line 1


def _several(content: bytes) -> list[Any] | None:
    """The objects of a text that holds objects and nothing else, whatever their line ends; None otherwise."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    decoder, at, rows = json.JSONDecoder(), 0, list[Any]()
    while at < len(text):
        if text[at].isspace() or (text[at] == "," and rows):
            at += 1
            continue
        if text[at] != "{":
            return None
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        rows.append(row)
    return rows


def _of_object(value: dict[str, Any], source: SourceFile, note: Note) -> list[Any]:
    """The rows one object holds: under a key, as lists by column, as pandas writes a table; else it is a row itself.

    In a file of lines one line is a row, unless it can hardly be one.
    """
    name, is_line = source.name, ".json" not in source.path.suffixes
    if _split_table(value):
        note(f"{name}: a table of columns, index and data")
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]]
    lists = [key for key, rows in value.items() if _objects(rows)]
    key = next((key for key in _ROWS_UNDER if key in lists), None) or (lists[0] if len(lists) == 1 and not is_line else None)
    if key is not None:
        note(f"{name}: its rows lie under key {key!r}")
        return list(value[key])
    values = list(value.values())
    if values and all(isinstance(v, dict) and v and list(v) == list(values[0]) and _numbered(v) for v in values):
        note(f"{name}: an object by column, as pandas writes it")
        return [{key: column[row] for key, column in value.items()} for row in values[0]]
    if len(values) > 1 and not is_line and all(_column(v) and len(v) == len(values[0]) for v in values):
        note(f"{name}: a list by column")
        return [dict(zip(value, row, strict=True)) for row in zip(*values, strict=True)]
    return [value]


def _column(value: Any) -> bool:
    """Whether it is a list of several plain values."""
    return isinstance(value, list) and len(value) > 1 and not any(isinstance(item, list | dict) for item in value)


def _objects(rows: Any) -> bool:
    """Whether it is a list of objects that are rows and no turns of a chat."""
    good = isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)
    return good and not any({"role", "content"} <= row.keys() or {"from", "value"} <= row.keys() for row in rows)


def _split_table(value: dict[str, Any]) -> bool:
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list):
        return False
    return all(isinstance(name, str) for name in names) and all(isinstance(row, list) for row in rows)


def _numbered(column: dict[str, Any]) -> bool:
    return all(key.isdigit() for key in column)
