"""Flat words agree with the plain tokeniser; equal keys find their first."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.metrics.text import hashed_words as words
from ratoon.metrics.text.hashed_words import Pieces
from ratoon.text import tokenise


def cut(texts: list[str], most: int = words.BATCH_BYTES) -> list[Pieces]:
    return [words.words(batch, words.kinds(batch)) for batch in words.batches(pa.array(texts, pa.string()), most)]


@given(st.lists(st.text(alphabet=st.characters(min_codepoint=9, max_codepoint=126)), max_size=8))
def test_ascii_is_cut_as_the_plain_tokeniser_cuts_it(texts: list[str]) -> None:
    found = np.concatenate([np.diff(p.starts) for p in cut(texts)]) if texts else np.zeros(0)
    assert found.tolist() == [len(tokenise(text)) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "東京へ行く。Hello, wörld_1! a\u00a0b",
        "ไทยภาษา abc",
        "नमस्ते दुनिया",
        "a—b … “q”",
        "émigré 3.14",
        "😀a😀",
        "Привет, мир",
        "名\u3000前",
    ],
)
def test_other_scripts_are_cut_as_the_plain_tokeniser_cuts_them(text: str) -> None:
    (pieces,) = cut([text])
    assert pieces.starts.tolist() == [0, len(tokenise(text))]


@given(st.lists(st.text(), max_size=6), st.integers(1, 40))
def test_batches_change_nothing_and_lose_no_row(texts: list[str], most: int) -> None:
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    whole, parts = cut(clean), cut(clean, most)
    for name in ("hashes", "chars"):
        joined = [np.concatenate([getattr(p, name) for p in made]) if made else np.zeros(0) for made in (whole, parts)]
        assert joined[0].tolist() == joined[1].tolist()
    assert sum(len(p.starts) - 1 for p in parts) == len(texts)


@given(st.lists(st.integers(0, 9)))
def test_each_key_finds_the_first_that_is_equal(values: list[int]) -> None:
    keys = words.mixed(np.array(values, np.uint64))
    assert words.first_of(keys).tolist() == [values.index(v) for v in values]


def test_equal_words_are_equal_in_any_row_and_salted_only_in_their_own() -> None:
    (pieces,) = cut(["one two one", "two one"])
    assert pieces.hashes[0] == pieces.hashes[2] == pieces.hashes[4]
    salted = words.salted(pieces)
    assert salted[0] == salted[2] != salted[4]


def test_n_grams_stay_within_rows() -> None:
    (pieces,) = cut(["a b c", "d", "a b"])
    grams, at = words.n_grams(pieces, 2)
    assert at.tolist() == [0, 1, 4]
    assert grams[0] == grams[2] != grams[1]
