"""A digest is the content: no order, chunk, slice or file shows in it, and every value does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.errors import DataError
from ratoon.store.digests import combine, content_digest

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("n", pa.int32()), ("f", pa.float64()), ("b", pa.bool_()), ("text", pa.string()),
        ("ids", pa.list_(pa.int32())), ("said", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("noise", pa.float64()),
    ]
)  # fmt: skip
_TEXT = st.none() | st.text(max_size=4)
ROW = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3),
        "f": st.none() | st.floats(allow_nan=False, width=32),
        "b": st.none() | st.booleans(),
        "text": _TEXT,
        "ids": st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3),
        "said": st.none() | st.lists(st.none() | st.fixed_dictionaries({"role": _TEXT, "content": _TEXT}), max_size=2),
        "noise": st.floats(0, 1),
    }
)
ROWS = st.lists(ROW, max_size=12)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"id": f"r{i:02d}", **row} for i, row in enumerate(rows)], schema=SCHEMA)


def digest(table: pa.Table) -> str:
    return content_digest(table, ["id"], frozenset({"noise"}))


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_order_does_not_show(rows: list[dict[str, Any]], random: Any) -> None:
    table = table_of(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert digest(table.take(pa.array(order, pa.int64()))) == digest(table)


@settings(deadline=None)
@given(ROWS, st.integers(1, 5))
def test_chunks_and_slices_do_not_show(rows: list[dict[str, Any]], size: int) -> None:
    table = table_of(rows)
    chunks = [table.slice(start, size) for start in range(0, len(rows), size)]
    assert digest(pa.concat_tables([SCHEMA.empty_table(), *chunks])) == digest(table)
    padded = pa.concat_tables([table_of(rows[:3]), table]).combine_chunks()
    assert digest(padded.slice(min(3, len(rows)))) == digest(table)


@settings(deadline=None)
@given(ROWS)
def test_a_round_trip_through_parquet_does_not_show(rows: list[dict[str, Any]]) -> None:
    table, sink = table_of(rows), io.BytesIO()
    pq.write_table(table, sink, row_group_size=3)
    assert digest(pq.read_table(sink)) == digest(table)


@settings(deadline=None)
@given(ROWS.filter(bool), st.data())
def test_every_change_of_one_value_shows(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from([c for c in SCHEMA.names if c not in ("id", "noise")]))
    other = data.draw(ROW)[column]
    changed = [dict(r) for r in rows]
    changed[row][column] = other
    same = repr(other) == repr(rows[row][column])
    assert (digest(table_of(changed)) == digest(table_of(rows))) == same


def test_a_volatile_column_does_not_show() -> None:
    row = {"n": 1, "noise": 0.1}
    assert digest(table_of([row])) == digest(table_of([row | {"noise": 0.9}]))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("n", [None, 0]),
        ("f", [None, 0.0, -0.0, float("nan")]),
        ("b", [None, False, True]),
        ("text", [None, "", "\0", " "]),
        ("ids", [None, [], [None], [0], [None, None]]),
        ("said", [None, [], [None], [{"role": None, "content": None}], [{"role": "", "content": ""}]]),
    ],
)
def test_null_zero_and_empty_differ(column: str, values: list[Any]) -> None:
    assert len({digest(table_of([{column: value}])) for value in values}) == len(values)


def test_neighbours_cannot_trade_content() -> None:
    assert digest(table_of([{"text": "ab"}, {"text": "c"}])) != digest(table_of([{"text": "a"}, {"text": "bc"}]))
    assert digest(table_of([{"ids": [1, 2]}, {"ids": [3]}])) != digest(table_of([{"ids": [1]}, {"ids": [2, 3]}]))
    both = lambda a, b: digest(table_of([{"said": [{"role": a, "content": b}]}]))  # noqa: E731
    assert both("x", "") != both("", "x")


def test_the_name_of_a_column_shows() -> None:
    one = pa.table({"id": ["a"], "x": [1], "y": [2]})
    assert content_digest(one, ["id"], frozenset()) != content_digest(one.rename_columns(["id", "y", "x"]), ["id"], frozenset())


def test_what_lies_under_a_null_does_not_show() -> None:
    """Arrow may keep any bytes where a value is null."""
    dirty = pa.Array.from_buffers(pa.int32(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([7, 99], np.int32).tobytes())])
    clean = pa.array([7, None], pa.int32())
    tables = [pa.table({"id": ["a", "b"], "n": array}) for array in (dirty, clean)]
    assert len({content_digest(t, ["id"], frozenset()) for t in tables}) == 1


def test_rows_of_one_key_still_have_no_order() -> None:
    rows = [{"id": "a", "n": n, "ids": ids} for n, ids in [(2, [1]), (1, [2]), (2, [0])]]
    made = {
        digest(pa.Table.from_pylist([rows[i] for i in order], schema=SCHEMA)) for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2))
    }
    assert len(made) == 1


def test_null_keys_are_keys() -> None:
    rows = [{"id": None, "n": 1}, {"id": "a", "n": 2}]
    forth, back = (pa.Table.from_pylist(r, schema=SCHEMA) for r in (rows, rows[::-1]))
    assert digest(forth) == digest(back)


@pytest.mark.parametrize("name", schema.TABLES)
def test_every_pinned_table_has_a_digest(name: str) -> None:
    rows = schema.TABLES[name].empty_table()
    nulls = pa.Table.from_arrays([pa.nulls(2, f.type) for f in schema.TABLES[name]], schema=schema.TABLES[name])
    volatile: Callable[[str], frozenset[str]] = lambda n: schema.VOLATILE.get(n, frozenset())  # noqa: E731
    assert content_digest(rows, schema.KEYS[name], volatile(name)) != content_digest(nulls, schema.KEYS[name], volatile(name))


def test_a_type_without_digest_is_refused_by_column() -> None:
    with pytest.raises(DataError, match="'day'"):
        content_digest(pa.table({"id": ["a"], "day": pa.array([1], pa.date32())}), ["id"], frozenset())


def test_a_digest_over_tables_knows_their_names_not_their_order() -> None:
    assert combine({"a": "1", "b": "2"}) == combine({"b": "2", "a": "1"}) != combine({"a": "2", "b": "1"})
