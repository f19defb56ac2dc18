"""Rows as one Arrow table for queries: typed columns as they are, values of JSON and CSV with the types they all have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.rows.batches import values
from ratoon.rows.rows import Rows
from ratoon.surrogates import without_surrogates

_WHOLE = (pa.int64(), pa.uint64(), pa.decimal128(38, 0))
_REFUSED = (pa.ArrowException, ValueError, TypeError, OverflowError)
_TRUTH = {"true": True, "false": False}
PLACE = "place"


def table(rows: Rows) -> pa.Table:
    """All rows that can be read, a column each; `rows.reading` counts them.

    What holds rows and no column gets column `place`, so that rows can be counted. A column of unlike values is JSON text.
    Raises DataError where a file, or half of the rows, cannot be read.
    """
    columns: dict[str, list[Any]] = {}
    n = 0
    if rows.typed:
        whole = _typed(rows)
    else:
        for item in rows.items():
            if item.problem is not None:
                continue
            for name, value in item.row.items():
                column = columns.setdefault(name, [])
                column += [None] * (n - len(column))
                column.append(value)
            n += 1
        column_of = _of_texts if all(file.kind == "csv" for file in rows.files) else _column
        whole = pa.table({name: column_of(column + [None] * (n - len(column))) for name, column in columns.items()})
    rows.reading.check()
    return plain_types(whole) if whole.num_columns else pa.table({PLACE: pa.array(range(rows.reading.rows), pa.int64())})


def plain_types(table: pa.Table) -> pa.Table:
    """The same with types that engines of queries know: half floats as floats, decimals of over 38 digits as text."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = _plain(column.type)
        try:
            columns[name] = column if kind == column.type else column.cast(kind)
        except pa.ArrowException:
            columns[name] = pa.array([None if value is None else _text(value) for value in values(column)], pa.string())
    return pa.table(columns)


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else pa.string()
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_union(kind) or kind == pa.month_day_nano_interval() else kind


def _typed(rows: Rows) -> pa.Table:
    """The batches of typed files; where files' schemas disagree, their values."""
    batches = []
    for _, places, batch in rows.tables():
        rows.reading.rows += len(places)
        batches.append(batch)
    if not batches:
        names = rows.columns()
        return pa.table({name: pa.nulls(0, pa.string()) for name in names})
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        names = list(dict.fromkeys(name for one in tables for name in one.column_names))
        return pa.table({name: _column([v for one in tables for v in _values(one, name)]) for name in names})


def _values(one: pa.Table, name: str) -> list[Any]:
    return values(one[name]) if name in one.column_names else [None] * one.num_rows


def _column(given: Sequence[Any]) -> pa.Array:
    """Values as the narrowest type that holds them all; unlike ones as JSON text."""
    known = [value for value in given if value is not None]
    if all(isinstance(value, str) for value in known):
        return pa.array([None if value is None else without_surrogates(value)[0] for value in given], pa.string())
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        for kind in _WHOLE:
            try:
                return pa.array(given, kind)
            except _REFUSED:
                continue
    try:
        return pa.array(given)
    except _REFUSED:
        return pa.array([None if value is None else _text(value) for value in given], pa.string())


def _of_texts(given: Sequence[str | None]) -> pa.Array:
    """A CSV's texts as numbers or truths where all of them are: `007` stays a text, since the number would be another.

    >>> _of_texts(["1", "2"]).type, _of_texts(["007", "2"]).type
    (DataType(int64), DataType(string))
    """
    texts = pa.array([None if value is None else without_surrogates(value)[0] for value in given], pa.string())
    if texts.null_count == len(texts):
        return texts
    lower = pc.utf8_lower(texts)
    if all(value is None or value in _TRUTH for value in pc.unique(lower).slice(0, 4).to_pylist()):
        return pa.array([None if value is None else _TRUTH[value] for value in lower.to_pylist()], pa.bool_())
    for kind in (pa.int64(), pa.float64()):
        try:
            numbers = texts.cast(kind)
        except pa.ArrowException:
            continue
        if kind == pa.float64() or pc.all(pc.equal(numbers.cast(pa.string()), texts)).as_py():
            return numbers
        break
    return texts


def _text(value: Any) -> str:
    return without_surrogates(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[0]
