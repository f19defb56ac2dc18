"""A table as text or bytes for people and programs; knows Arrow, no run and no query.

csv: one header line, `\\n` line ends, true/false, null empty (an empty text is `""`), lists and structs as JSON. csv-safe: the
same, but texts that a spreadsheet would run begin with an apostrophe. json: a list of objects; NaN and infinities, which JSON
has not, are null. table: what fits a terminal, control characters stripped.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import itertools
import json
import math
import shutil
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.errors import UsageError
from ratoon.terminal import plain

FORMATS = ("table", "json", "csv", "csv-safe", "parquet")
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # full-width ones too
_SHOWN_ROWS = 50
_SHOWN_CHARS = 300


def render(table: pa.Table, form: str = "table", *, width: int | None = None) -> str | bytes:
    """`table` in a format of FORMATS; parquet is bytes, the others are text that ends in a newline."""
    if form == "parquet":
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()
    if form == "json":
        rows = [{name: _json_value(value) for name, value in row.items()} for row in _rows(table)]
        return json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    if form in ("csv", "csv-safe"):
        return _csv(table, safe=form == "csv-safe")
    if form == "table":
        return _grid(table, width or shutil.get_terminal_size((120, 24)).columns)
    raise UsageError(f"no format {form!r}", f"the formats are {', '.join(FORMATS)}")


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts; two columns of one name get `_1`, `_2` … so that none is lost."""
    names: list[str] = []
    for name in table.column_names:
        tries = (f"{name}_{n}" for n in itertools.count(1))
        names.append(name if name not in names else next(t for t in tries if t not in (*names, *table.column_names)))
    return table.rename_columns(names).to_pylist()


def _json_value(value: Any) -> Any:
    """Plain JSON: whole decimals (DuckDB's sums) are ints, times are ISO text, bytes are base64."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _csv(table: pa.Table, safe: bool) -> str:
    columns = [[name, *column.to_pylist()] for name, column in zip(table.column_names, table.columns, strict=True)]
    rows = zip(*columns, strict=True)
    return "\n".join(",".join(_csv_cell(value, safe) for value in row) for row in rows) + "\n"


def _csv_cell(value: Any, safe: bool) -> str:
    """A cell; a `safe` text that a spreadsheet would run begins with an apostrophe. Numbers run nothing."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return _quoted(_text(value))
    return _quoted(f"'{value}" if safe and value.lstrip(" ").startswith(_RUN_BY_SPREADSHEETS) else value)


def _quoted(text: str) -> str:
    if text == "" or any(c in text for c in ',"\n\r') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _text(value: Any) -> str:
    """A value in one line: true and false, numbers in full, nested values as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict | list):
        return json.dumps(_json_value(value), ensure_ascii=False, separators=(",", ":"))
    return str(_json_value(value))


def _grid(table: pa.Table, width: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(header_style="bold")
    numbers = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t) for t in table.schema.types]
    for name, number in zip(table.column_names, numbers, strict=True):
        grid.add_column(Text(plain(name)), justify="right" if number else "left", overflow="fold")
    columns = [column.to_pylist() for column in table.slice(0, _SHOWN_ROWS).columns]
    for row in zip(*columns, strict=True):
        grid.add_row(*(Text(_grid_cell(value), style="dim" if value is None else "") for value in row))
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False)
    console.print(grid)
    if table.num_rows > _SHOWN_ROWS:
        console.print(f"{_SHOWN_ROWS} of {table.num_rows} rows; --format csv or json has all")
    return out.getvalue()


def _grid_cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = plain(value if isinstance(value, str) else _text(value)).replace("\n", "\\n").replace("\t", " ")
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
