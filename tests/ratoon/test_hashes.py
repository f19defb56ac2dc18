"""Digests of whole texts are equal exactly where the normalised texts are, however the column is cut."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.hashes import text_digests
from ratoon.text import normalise

TEXTS = st.lists(st.text(st.sampled_from("abAB1 .\t\n\x1cßSsＡ東é"), max_size=6), max_size=12)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_equal_digests_are_equal_texts_once_normalised(texts: list[str]) -> None:
    found = [tuple(row) for row in text_digests(pa.array(texts, pa.string())).tolist()]
    for text, digest in zip(texts, found, strict=True):
        for other, theirs in zip(texts, found, strict=True):
            assert (digest == theirs) == (normalise(text) == normalise(other))


def test_chunks_slices_and_long_texts_change_nothing() -> None:
    texts = ["one two", "two one", "x" * 3_000_000, "x" * 2_999_999 + "y", None, "", "a " * 1_000_000, "One\n TWO"]
    whole = text_digests(pa.array(texts)).tolist()
    chunked = pa.chunked_array([pa.array(texts[:3], pa.string()), pa.array(["skipped", *texts[3:]], pa.string()).slice(1)])
    assert text_digests(chunked).tolist() == whole
    assert whole[0] == whole[7] != whole[1]
    assert whole[4] == whole[5]
    assert len({tuple(row) for row in whole}) == 6
