"""Content digests of tables: equal rows, equal digest, in whatever order, chunks or slices; knows no file.

Rows are put in the order of their keys (null last); each column is then hashed from its Arrow buffers: what is null, how
long, which bytes. Every bit of every value counts, so 0.0 and -0.0 differ, and so do null, 0 and an empty list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import DataError
from ratoon.schema import ADDED_COLUMNS, ADDED_FIELDS


def content_digest(table: pa.Table, keys: Sequence[str], volatile: frozenset[str]) -> str:
    """32 hex digits over the non-volatile columns of `table`. Raises DataError for a column type it cannot read.

    Columns and fields that the schema got later count only where a row has them: older tables keep their digest.
    """
    order = _order(table, keys)
    state = blake2b(digest_size=16)
    for field in table.schema:
        unused = field.name in ADDED_COLUMNS and table.column(field.name).null_count == table.num_rows
        if field.name not in volatile and not unused:
            column = table.column(field.name) if order is None else table.column(field.name).take(order)
            _feed(state, b"column", field.name.encode())
            _hash_array(state, _whole(column), field.name)
    return state.hexdigest()


def combine(digests: Mapping[str, str]) -> str:
    """One digest over the digests of several tables."""
    state = blake2b(digest_size=16)
    for name in sorted(digests):
        _feed(state, name.encode(), digests[name].encode())
    return state.hexdigest()


def _order(table: pa.Table, keys: Sequence[str]) -> pa.Array | None:
    """The row numbers in key order, or None when the rows lie so already."""
    if table.num_rows < 2 or _ascends(table, keys):
        return None
    order = pc.sort_indices(table, sort_keys=[(k, "ascending") for k in keys]).to_numpy()
    tied = _tied(table.select(list(keys)).take(pa.array(order)))
    if tied.any():
        order = _break_ties(table, order, tied)
    return None if np.array_equal(order, np.arange(len(order))) else pa.array(order)


def _ascends(table: pa.Table, keys: Sequence[str]) -> bool:
    """Whether every row's keys are above those of the row before it: the usual case, and far quicker to see than to sort."""
    tied: pa.ChunkedArray | None = None
    for key in keys:
        column = table.column(key)
        if column.null_count or not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
            return False
        here, before = column.slice(1), column.slice(0, table.num_rows - 1)
        falls = pc.less(here, before)
        if pc.any(falls if tied is None else pc.and_(falls, tied)).as_py():
            return False
        same = pc.equal(here, before)
        tied = same if tied is None else pc.and_(same, tied)
        if not pc.any(tied).as_py():
            return True
    return False


def _tied(keys: pa.Table) -> np.ndarray:
    """Whether row i + 1 of the sorted rows has the same keys as row i."""
    tied = np.ones(keys.num_rows - 1, bool)
    for column in keys.columns:
        here, before = column.slice(1), column.slice(0, keys.num_rows - 1)
        both_null = pc.and_(here.is_null(), before.is_null())
        same = pc.or_(pc.fill_null(pc.equal(here, before), False), both_null)
        tied &= same.to_numpy()
    return tied


def _break_ties(table: pa.Table, order: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Rows with equal keys by their whole content. Slow, for few rows: keys are meant to be unique."""
    order = order.copy()
    starts = np.flatnonzero(~np.concatenate([[False], tied]))
    ends = np.append(starts[1:], len(order))
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            rows = [(repr(row), i) for row, i in zip(table.take(order[start:end]).to_pylist(), order[start:end], strict=True)]
            order[start:end] = [i for _, i in sorted(rows)]
    return order


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _feed(state: Any, *pieces: bytes | memoryview | np.ndarray) -> None:
    """Hash each piece behind its length, so that two neighbours cannot trade bytes."""
    for piece in pieces:
        view = (
            memoryview(piece).cast("B")
            if not isinstance(piece, np.ndarray)
            else np.ascontiguousarray(piece).view(np.uint8).data
        )
        state.update(len(view).to_bytes(8, "little"))
        state.update(view)


def _hash_array(state: Any, array: pa.Array, name: str) -> None:
    dense = array.drop_null() if array.null_count else array
    if pa.types.is_struct(array.type):
        dense = _used_fields(dense)
    kind = dense.type
    _feed(state, _type_name(kind), len(array).to_bytes(8, "little"))
    _feed(state, np.packbits(array.is_valid().to_numpy(zero_copy_only=False)) if array.null_count else b"")
    if pa.types.is_struct(kind):
        for child in dense.flatten():
            _hash_array(state, child, name)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _feed(state, _lengths(dense))
        _hash_array(state, dense.flatten(), name)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        _feed(state, _lengths(dense), _text_bytes(dense))
    elif pa.types.is_boolean(kind):
        _feed(state, np.packbits(dense.to_numpy(zero_copy_only=False)))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        _feed(state, dense.to_numpy())
    else:
        raise DataError(f"column {name!r} has the type {kind}, which has no digest", "use the types of ratoon/schema.py")


def _used_fields(array: pa.StructArray) -> pa.StructArray:
    """The array without those fields that the schema got later and no item has."""
    children = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    used = {n: child for n, child in children.items() if n not in ADDED_FIELDS or child.null_count < len(array)}
    return pa.StructArray.from_arrays(list(used.values()), list(used)) if len(used) < len(children) else array


def _type_name(kind: pa.DataType) -> bytes:
    """The type without the name of a list's only child, which Parquet changes; the children speak for themselves."""
    if pa.types.is_struct(kind):
        return "struct<{}>".format(",".join(field.name for field in kind)).encode()
    return b"list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else str(kind).encode()


def _offsets(array: pa.Array) -> np.ndarray:
    wide = pa.types.is_large_list(array.type) or pa.types.is_large_string(array.type)
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(1, np.int64)
    return np.frombuffer(buffer, np.int64 if wide else np.int32)[array.offset : array.offset + len(array) + 1]


def _lengths(array: pa.Array) -> np.ndarray:
    return np.diff(_offsets(array)).astype(np.int64)


def _text_bytes(array: pa.Array) -> memoryview | bytes:
    offsets, data = _offsets(array), array.buffers()[2]
    return memoryview(data)[int(offsets[0]) : int(offsets[-1])] if data is not None else b""
