"""The pinned tables: keys that exist, no Arrow map, loud about a column nobody knows."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import schema
from ratoon.errors import DataError


def _types(kind: pa.DataType) -> list[pa.DataType]:
    return [kind, *(t for i in range(kind.num_fields) for t in _types(kind.field(i).type))]


@pytest.mark.parametrize("name", schema.TABLES)
def test_keys_and_volatile_columns_are_columns(name: str) -> None:
    columns = set(schema.TABLES[name].names)
    assert set(schema.KEYS[name]) <= columns
    assert schema.VOLATILE.get(name, frozenset()) <= columns - set(schema.KEYS[name])


def test_every_table_has_keys() -> None:
    assert set(schema.KEYS) == set(schema.TABLES)
    assert set(schema.VOLATILE) <= set(schema.TABLES)


@pytest.mark.parametrize("name", schema.TABLES)
def test_no_map_types_and_every_column_nullable(name: str) -> None:
    """`datasets` cannot load a map."""
    for field in schema.TABLES[name]:
        assert field.nullable
        assert not any(pa.types.is_map(t) for t in _types(field.type))


@pytest.mark.parametrize("name", schema.TABLES)
def test_a_table_survives_parquet_with_its_name_and_version(name: str) -> None:
    sink = io.BytesIO()
    pq.write_table(schema.empty(name), sink)
    back = pq.read_table(sink)
    assert back.schema.equals(schema.TABLES[name])
    assert back.schema.metadata[b"ratoon.table"] == name.encode()
    assert back.schema.metadata[b"ratoon.schema"] == str(schema.SCHEMA_VERSION).encode()


def test_an_absent_column_is_null_not_zero() -> None:
    row = schema.from_rows("groups", [{"group_id": "g"}]).to_pylist()[0]
    assert row["n_passed"] is None
    assert row["pass_rate"] is None


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(DataError, match="'no_such'"):
        schema.from_rows("tasks", [{"task_id": "t", "no_such": 1}])
    with pytest.raises(DataError, match="'no_such'"):
        schema.from_columns("tasks", {"no_such": [1]})


def test_rows_and_columns_make_the_same_table() -> None:
    by_rows = schema.from_rows("oracles", [{"task_id": "a", "oracle": "1"}, {"task_id": "b"}])
    by_columns = schema.from_columns("oracles", {"task_id": ["a", "b"], "oracle": pa.array(["1", None])})
    assert by_rows.equals(by_columns)
    assert schema.from_columns("oracles", {}, rows=2).num_rows == 2
    assert schema.from_columns("oracles", {}).num_rows == 0
