"""Shingles cut on bytes are those of the tokens Python cuts, whatever the script, and equal nowhere by accident."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.metrics.text.shingles import shingle
from ratoon.text import normalise, shingles, tokenise

TEXTS = st.text(st.sampled_from("abAB12_ .,+-\t\n\x1c\x7féß東京क्षไทย😀"), max_size=40)


def rows(texts: list[str | None], unit: str = "words", size: int = 3) -> list[list[int]]:
    found = shingle(pa.array(texts, pa.string()), unit, size)  # type: ignore[arg-type]
    return [found.hashes[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=6), st.integers(1, 5))
def test_hashes_are_equal_exactly_where_the_shingles_of_the_tokens_are(texts: list[str], size: int) -> None:
    made = rows(list(texts), size=size)
    told = [shingles(tokenise(normalise(text)), size) for text in texts]
    assert [len(row) for row in made] == [len(row) for row in told]
    meaning: dict[int, tuple[str, ...]] = {}
    for hashes, cut in zip(made, told, strict=True):
        for value, tokens in zip(hashes, cut, strict=True):
            assert meaning.setdefault(value, tokens) == tokens
    assert len(set(meaning.values())) == len(meaning)


def test_a_batch_says_of_a_row_what_the_row_says_alone() -> None:
    texts = ["one two three four", None, "", "One  TWO three\nfour", "x", "東京は晴れ", "ends_with_word", "starts"]
    assert rows(texts) == [rows([text])[0] for text in texts]
    assert rows(texts)[0] == rows(texts)[3]
    assert rows(texts)[1] == rows(texts)[2] == []


def test_a_slice_of_a_column_is_cut_as_the_column_is() -> None:
    column = pa.array(["a b c d", "e f g h", "i j k l"])
    whole, part = shingle(column), shingle(column.slice(1, 2))
    assert part.hashes.tolist() == whole.hashes.tolist()[whole.offsets[1] :]


def test_operators_are_tokens_so_that_a_sum_is_no_difference() -> None:
    assert set(rows(["3 + 4"])[0]).isdisjoint(rows(["3 - 4"])[0])


def test_long_words_differ_in_their_last_letter() -> None:
    for length in (8, 9, 16, 17, 511, 512, 513, 5000):
        texts: list[str | None] = ["a" * length, "a" * (length - 1) + "b", "a" * (length + 1)]
        assert len({row[0] for row in rows(texts)}) == 3, length


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_characters_are_those_of_the_normalised_text(texts: list[str]) -> None:
    made = rows(list(texts), "chars", 2)
    assert [len(row) for row in made] == [len(shingles(normalise(text), 2)) for text in texts]


@pytest.mark.parametrize("texts", [[], [None], ["", " \n"]])
def test_nothing_gives_no_shingle(texts: list[str | None]) -> None:
    assert rows(texts) == [[] for _ in texts]


def test_hashes_are_spread_over_all_bits() -> None:
    found = shingle(pa.array([" ".join(f"w{i}" for i in range(20_000))]), "words", 2).hashes
    ones = np.unpackbits(found.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.005
    assert len(np.unique(found >> np.uint64(32))) > 19_990
