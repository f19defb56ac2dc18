"""Rows of Parquet, JSONL and CSV files, one by one; a row that cannot be read says why and where, and the rest goes on.

Knows neither prompts nor columns. Line numbers count from 1, rows of Parquet from 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.errors import DataError

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv")
_UTF8 = "not valid UTF-8"


class Item(NamedTuple):
    """A row, where it stood, the split it came from, and why it cannot be read (then the row is empty)."""

    where: str
    row: dict[str, Any]
    split: str | None = None
    problem: str | None = None


def columns_of(path: Path) -> list[str]:
    """The column names: of the schema, of the header, or all keys of the JSON lines. Raises DataError on an empty file."""
    if path.suffix == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    if path.suffix == ".csv":
        return next(_csv_rows(path))
    names: dict[str, None] = {}
    for item in _json_lines(path):
        names.update(dict.fromkeys(item.row))
    return list(names)


def read_file(path: Path) -> Iterator[Item]:
    """Every row of `path`. Raises DataError when the file cannot be read at all or holds no row."""
    reader = _parquet_items if path.suffix == ".parquet" else _csv_items if path.suffix == ".csv" else _json_lines
    empty = True
    for item in reader(path):
        empty = False
        yield item
    if empty:
        raise DataError(f"{path} holds no row", "mend the arm's `path`")


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}", "write it anew") from None


def _parquet_items(path: Path) -> Iterator[Item]:
    file, at = _parquet(path), 0
    try:
        for batch in file.iter_batches(1024):
            yield from (_parquet_row(path, batch, i, at + i) for i in range(batch.num_rows))
            at += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read past row {at}: {error}", "write it anew") from None


def _parquet_row(path: Path, batch: pa.RecordBatch, i: int, at: int) -> Item:
    where = f"{path.name}:{at}"
    try:
        return Item(where, {name: batch.column(j)[i].as_py() for j, name in enumerate(batch.schema.names)})
    except UnicodeDecodeError:
        return Item(where, {}, problem=_UTF8)


def _json_lines(path: Path) -> Iterator[Item]:
    for number, line in enumerate(_bytes(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError:
            yield Item(where, {}, problem=_UTF8)
        except (ValueError, RecursionError) as error:
            yield Item(where, {}, problem=f"not JSON: {error}")
        else:
            ok = isinstance(row, dict)
            yield Item(where, row if ok else {}, problem=None if ok else f"a JSON {type(row).__name__}, not an object")


def _csv_items(path: Path) -> Iterator[Item]:
    rows = _csv_rows(path)
    header = next(rows)
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        where = f"{path.name}:row {number}"
        if len(row) != len(header):
            yield Item(where, {}, problem=f"{len(row)} fields under a header of {len(header)}")
        elif any("\udc80" <= c <= "\udcff" for field in row for c in field):
            yield Item(where, {}, problem=_UTF8)
        else:
            yield Item(where, dict(zip(header, (field if field else None for field in row), strict=True)))


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """Header first. Undecodable bytes come as surrogates, so that one bad byte costs one row."""
    text = _bytes(path).decode("utf-8", errors="surrogateescape")
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise DataError(f"{path} is no readable CSV: {error}", "quote fields that hold quotes or line breaks") from None


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "mend the arm's `path`") from None
    if not content.strip():
        raise DataError(f"{path} is empty", "mend the arm's `path`")
    return content
