"""Sums over a reply's tokens: only those its policy sampled, bit for bit the plain sum where it sampled all."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ratoon.metrics.voting.self_reward import list_sums, trained_logprobs, trained_tokens

LISTS = st.lists(st.none() | st.lists(st.floats(-20, 0, width=32), max_size=6), max_size=8)


def chunked(values: list[list[float] | None], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.list_(kind))])


@given(LISTS)
def test_a_reply_sampled_whole_counts_as_it_always_did(values: list[list[float] | None]) -> None:
    ones = [None if v is None else [1] * len(v) for v in values]
    logprobs, mask = chunked(values, pa.float32()), chunked(ones, pa.int8())
    assert trained_logprobs(logprobs, mask).equals(list_sums(logprobs))
    assert trained_tokens(logprobs, mask).to_pylist() == [None if v is None else len(v) for v in values]


def test_ids_that_were_given_count_nothing() -> None:
    logprobs = chunked([[-1.0, -9.0, -2.0], [-4.0], [], [-3.0, -3.0], None], pa.float32())
    mask = chunked([[1, 0, 1], [0], [], None, None], pa.int8())
    assert trained_tokens(logprobs, mask).to_pylist() == [2, 0, 0, 2, None]
    assert trained_logprobs(logprobs, mask).to_pylist() == [-3.0, 0.0, 0.0, -6.0, None]
