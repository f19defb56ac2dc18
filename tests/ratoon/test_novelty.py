"""The index says exactly what comparing with the whole pool says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.novelty import RougeIndex, tokens_of
from ratoon.text import rouge_l

words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "the", "of", "東", "京", "ü"]), max_size=12).map(" ".join)


def brute(pool: list[str], text: str, threshold: float) -> tuple[str, float] | None:
    found = [(rouge_l(tokens_of(text), tokens_of(other)), -i) for i, other in enumerate(pool)]
    best = max(found, default=(0.0, 0))
    return (str(-best[1]), best[0]) if best[0] >= threshold - 1e-9 and best[0] > 0 else None


@given(pool=st.lists(words, max_size=25), text=words, threshold=st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_the_nearest_is_the_one_that_comparing_with_everything_finds(pool: list[str], text: str, threshold: float) -> None:
    index = RougeIndex(threshold)
    for i, other in enumerate(pool):
        index.add(str(i), other)
    found = index.nearest(text)
    expected = brute(pool, text, threshold)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.id == expected[0]
        assert found.similarity == pytest.approx(expected[1], abs=1e-12)


def test_it_is_exact_on_a_larger_pool_of_skewed_words_too() -> None:
    rng = random.Random(0)
    said = [f"w{min(400, int(rng.paretovariate(0.7)))}" for _ in range(60_000)]
    pool = [" ".join(said[i * 20 : i * 20 + rng.randint(4, 20)]) for i in range(1500)]
    index = RougeIndex(0.7)
    for i, text in enumerate(pool):
        index.add(str(i), text)
    hits = 0
    for text in rng.sample(pool, 25):
        changed = text.split()
        for _ in range(rng.randint(0, len(changed) // 2)):
            changed[rng.randrange(len(changed))] = rng.choice(said)
        found = index.nearest(" ".join(changed))
        expected = brute(pool, " ".join(changed), 0.7)
        assert (found and found.id) == (expected and expected[0])
        hits += found is not None
    assert 0 < hits < 25


def test_exactly_the_threshold_is_too_near() -> None:
    index = RougeIndex(0.7)
    index.add("seven", "a b c d e f g h i j")
    assert index.nearest("a b c d e f g x y z") == ("seven", 0.7)
    assert index.nearest("a b c d e f w x y z") is None


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("東京の天気を教えてください。", "東京の天気を教えて下さい"),
        ("हिन्दी में एक कविता लिखो", "हिन्दी में एक कविता लिखो।"),
        ("Напиши короткое письмо другу", "НАПИШИ короткое  письмо другу!"),
    ],
)
def test_scripts_other_than_latin_are_not_all_alike_nor_all_new(text: str, near: str) -> None:
    index = RougeIndex(0.7)
    index.add("it", text)
    assert index.nearest(near) is not None
    assert index.nearest("完全に違うことについての質問です") is None


def test_ids_that_are_left_out_hide_nothing_behind_them() -> None:
    index = RougeIndex(0.7)
    index.add("parent", "tell me the time of the day")
    index.add("other", "tell me the time of the day now")
    assert index.nearest("tell me the time of the day", without={"parent"}) == ("other", 14 / 15)
    assert index.nearest("tell me the time of the day", without={"parent", "other"}) is None


def test_an_empty_pool_and_a_blank_text_are_near_to_nothing() -> None:
    index = RougeIndex(0.7)
    assert index.nearest("anything") is None
    index.add("blank", " \n")
    assert len(index) == 1
    assert index.nearest("") is None
    with pytest.raises(ValueError, match="a threshold of 0"):
        RougeIndex(0)
