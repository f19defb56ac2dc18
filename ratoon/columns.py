"""A column as arrays: its numbers, its codes, its truths, its texts; one rule for what is missing. Knows no table.

Null is NaN among numbers, -1 among codes (or a code of its own, where it is asked for), false among truths, null among texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.errors import DataError
from ratoon.surrogates import without_surrogates

Column: TypeAlias = pa.Array | pa.ChunkedArray


def whole(column: Column) -> pa.Array:
    """The column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def numbers(column: Column) -> NDArray[np.float64]:
    """The column as float64: null is NaN, true is 1; a column that is none of numbers is NaN throughout."""
    array = whole(column)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if not (pa.types.is_primitive(array.type) or pa.types.is_decimal(array.type) or pa.types.is_null(array.type)):
        return np.full(len(array), np.nan)
    return array.cast(pa.float64()).to_numpy(zero_copy_only=False)


def codes_of(column: Column, null_is_a_value: bool = False) -> NDArray[np.int64]:
    """A number from 0 for each row, equal where the values are equal; null is -1, or a value like any other."""
    array = whole(column)
    if pa.types.is_null(array.type):
        return np.full(len(array), 0 if null_is_a_value else -1, np.int64)
    indices = array.dictionary_encode("encode" if null_is_a_value else "mask").indices
    return indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def codes_and_values(column: Column) -> tuple[NDArray[np.int64], pa.Array]:
    """`codes_of` the column (-1 for null), and the value that each stands for."""
    encoded = whole(column).dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def truths(condition: Column) -> NDArray[np.bool_]:
    """A condition as bool: null is false."""
    return np.asarray(pc.fill_null(whole(condition), False).to_numpy(zero_copy_only=False), dtype=bool)


def equal(column: Column, value: object) -> NDArray[np.bool_]:
    """Where the column holds `value`; null holds nothing."""
    return truths(pc.equal(column, value))


def strings(texts: Column | Iterable[str | None]) -> Column:
    """Texts as a column of strings; lone surrogates of Python's strings become U+FFFD. Raises DataError on another type."""
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        return pa.array([None if text is None else without_surrogates(text)[0] for text in texts], pa.string())
    if pa.types.is_null(texts.type):
        return texts.cast(pa.string())
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise DataError(f"texts are {texts.type}, not strings", "give a column of strings")
    return texts
