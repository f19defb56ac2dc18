"""Arrow batches as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError
from ratoon.rows.chunk import Chunk

UTF8 = "not valid UTF-8"


def places(name: str, at: int, n: int) -> list[str]:
    """The places of n rows of file `name`, the first of which is row `at`."""
    return [f"{name}:{at + i}" for i in range(n)]


def chunk(batch: pa.RecordBatch, places: list[str]) -> Chunk:
    """The rows of a batch."""
    try:
        return Chunk(places, rows(batch), [])
    except UnicodeDecodeError:
        return _row_by_row(batch, places)


def rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as dicts; a value no Python type holds is null."""
    named = [(name, values(batch.column(i))) for i, name in enumerate(batch.schema.names)]
    return [{name: column[i] for name, column in named} for i in range(batch.num_rows)]


def values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column as Python values; a value no Python type holds (a year after 9999) is null. Raises UnicodeDecodeError."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(item) for item in column]


def unlike_names(names: Sequence[str], path: Path) -> list[str]:
    """`names`. Raises DataError where two of them are alike: which one is meant cannot be known."""
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise DataError(f"{path} has {len(twice)} column names twice: {', '.join(twice)}", "rename or drop one of each")
    return list(names)


def _row_by_row(batch: pa.RecordBatch, places: list[str]) -> Chunk:
    good, problems = Chunk([], [], []), []
    for i, place in enumerate(places):
        try:
            row = rows(batch.slice(i, 1))[0]
        except UnicodeDecodeError:
            problems.append((place, UTF8))
        else:
            good.places.append(place)
            good.rows.append(row)
    return Chunk(good.places, good.rows, problems)


def _value(item: pa.Scalar) -> Any:
    try:
        return item.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError, pa.ArrowException):
        return None
