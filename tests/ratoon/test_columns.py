"""Columns as arrays: what is missing stays missing, whatever the type, the chunks and the slices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.columns import codes_and_values, codes_of, equal, numbers, strings, truths, whole
from ratoon.errors import DataError

WORDS = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", ""])))


def in_chunks(values: list[str | None], cut: int) -> pa.ChunkedArray:
    at = cut % (len(values) + 1)
    return pa.chunked_array([values[:at], values[at:]], pa.string())


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5))), st.sampled_from([pa.int8(), pa.int64(), pa.float32()]))
def test_numbers_are_the_values_and_nan_where_they_are_unknown(values: list[int | None], kind: pa.DataType) -> None:
    np.testing.assert_array_equal(numbers(pa.array(values, kind)), [np.nan if v is None else v for v in values])


def test_truth_is_a_number_and_text_is_none() -> None:
    np.testing.assert_array_equal(numbers(pa.array([True, None, False])), [1, np.nan, 0])
    assert np.isnan(numbers(pa.array(["1", "x"]))).all()
    assert np.isnan(numbers(pa.nulls(2))).all()


@given(WORDS, st.integers(0, 9))
def test_codes_are_equal_where_the_values_are_and_minus_one_where_they_are_unknown(values: list[str | None], cut: int) -> None:
    found = codes_of(in_chunks(values, cut)).tolist()
    assert [code == -1 for code in found] == [value is None for value in values]
    assert len(set(zip(found, values, strict=True))) == len(set(found)) == len(set(values))


@given(WORDS, st.integers(0, 9))
def test_null_may_be_a_value_like_any_other(values: list[str | None], cut: int) -> None:
    found = codes_of(in_chunks(values, cut), null_is_a_value=True).tolist()
    assert set(found) == set(range(len(set(values))))
    assert len(set(zip(found, values, strict=True))) == len(set(values))


@given(WORDS, st.integers(0, 9))
def test_codes_stand_for_their_values(values: list[str | None], cut: int) -> None:
    found, meant = codes_and_values(in_chunks(values, cut))
    assert [None if code < 0 else meant[code].as_py() for code in found] == values


def test_a_column_of_nothing_but_nulls_has_codes() -> None:
    assert codes_of(pa.nulls(2)).tolist() == [-1, -1]
    assert codes_of(pa.nulls(2), null_is_a_value=True).tolist() == [0, 0]


def test_an_unknown_truth_is_false_and_an_unknown_value_equals_nothing() -> None:
    assert truths(pa.array([True, None, False])).tolist() == [True, False, False]
    assert equal(pa.chunked_array([["a", None], ["b"]]), "a").tolist() == [True, False, False]


def test_texts_of_a_list_hold_no_lone_surrogate_and_numbers_are_no_texts() -> None:
    assert strings(["7 \ud800", None]).to_pylist() == ["7 \ufffd", None]
    assert strings(pa.nulls(1)).type == pa.string()
    with pytest.raises(DataError, match="int64"):
        strings(pa.array([1]))


def test_a_column_of_no_chunks_is_an_empty_array() -> None:
    assert len(whole(pa.chunked_array([], pa.string()))) == 0
