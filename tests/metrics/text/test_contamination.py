"""Contamination: tiers at their borders, boilerplate tells nothing, what is shorter than a run is compared whole."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.metrics.text.contamination import ContaminationConfig, Index, build, cut, items, matches

CONFIG = ContaminationConfig()
LONG = "a farmer has twelve red hens and each hen lays three eggs on every sunny day of the week"


def index(*questions: str, answers: list[str] | None = None, config: ContaminationConfig = CONFIG) -> Index:
    return build(items("bench", list(questions), answers), config)


def told(found: Index, *texts: str | None) -> list[tuple[str, str, str, float] | None]:
    names = [f"r{i}" for i in range(len(texts))]
    edges = matches(found, pa.array(names), pa.array(texts, pa.string())).to_pylist()
    by = {
        e["a_id"]: (json.loads(e["evidence"])["tier"], e["b_id"], json.loads(e["evidence"])["words"], e["similarity"])
        for e in edges
    }
    return [by.get(name) for name in names]


def tiers(found: Index, *texts: str | None) -> list[str | None]:
    return [match and match[0] for match in told(found, *texts)]


def test_the_tiers_from_the_whole_text_to_a_share_of_it() -> None:
    words = LONG.split()
    found = index(LONG)
    assert tiers(found, LONG.upper() + "!", "so: " + " ".join(words[2:15]), " ".join(words[:9]), "nothing of the kind") == [
        "exact", "long", "coverage", None,
    ]  # fmt: skip


def test_a_run_of_eight_words_covers_and_one_of_seven_does_not() -> None:
    eight = "how many eggs does the old hen lay"
    assert len(eight.split()) == 8
    found = index(eight)
    assert told(found, f"tell me {eight} today")[0] == ("coverage", "bench:0:question", eight, 1.0)
    assert tiers(found, "tell me " + " ".join(eight.split()[:7]) + " today") == [None]


def test_a_text_of_seven_words_is_told_only_by_the_whole_of_it() -> None:
    seven = "how many eggs does one hen lay"
    assert len(seven.split()) == 7
    found = index(seven)
    assert tiers(found, "How many eggs does one hen lay?", f"Say: {seven} now") == ["exact", None]


def test_a_benchmark_shorter_than_the_run_is_no_trouble() -> None:
    found = index("2 + 3", "7")
    assert tiers(found, "2+3", "2 + 3 = 5", "7", "8", "", None) == ["exact", None, "exact", None, None, None]
    assert build(items("empty", []), CONFIG).digest != found.digest
    assert tiers(build(items("empty", []), CONFIG), LONG) == [None]


def test_spacing_of_latex_and_punctuation_do_not_hide_an_item() -> None:
    plain = "let x be the number with 3 x + 4 = 19 and find the value of x squared"
    dressed = (
        r"Let $x$ be the number, with \(3\,x \; + ~4 \quad = \left 19\right\) -- and find the \text{value} of $x$ squared."
    )
    assert cut(dressed, CONFIG)[:9] == ["let", "x", "be", "the", "number", "with", "3", "x", "+"]
    assert tiers(index(plain), dressed)[0] in {"exact", "long"}


def test_signs_of_arithmetic_and_digits_are_words() -> None:
    assert tiers(index("what is 12 + 7"), "What is 12+7?", "What is 12 - 7?", "What is 13 + 7?") == ["exact", None, None]
    assert cut("well-known", CONFIG) == ["well", "known"]
    assert cut("5 - 3", CONFIG) == ["5", "-", "3"]


def test_boilerplate_alone_is_no_contamination() -> None:
    said = "Please reason step by step, and put your final answer within \\boxed{}. Let's think step by step."
    found = index(f"What is the largest prime below ninety? {said}")
    assert tiers(found, f"How tall is the tower in the old town? {said}", f"<|im_start|>user\n{said}<|im_end|>") == [None, None]
    own = ContaminationConfig(boilerplate=("As a careful student of all of the numbers in this world",))
    head = "As a careful student of all of the numbers in this world I say"
    assert tiers(index(f"{head} one", config=CONFIG), f"{head} nine hundred") != [None]
    assert tiers(index(f"{head} one", config=own), f"{head} nine hundred") == [None]


def test_a_template_that_most_items_share_tells_nothing() -> None:
    head = "in the following riddle you must find the one number that was left out of"
    found = index(*(f"{head} row {i}" for i in range(30)))
    assert tiers(found, f"{head} column 4", f"{head} row 4") == [None, "exact"]


def test_a_short_answer_is_not_indexed_and_a_long_one_is() -> None:
    long = "because every second hen is away on sundays there are six eggs"
    found = index("q one two three four five six seven", "other", answers=["42", long])
    assert tiers(found, "42", f"I think {long}") == [None, "coverage"]


def test_the_strongest_match_wins_and_names_its_item() -> None:
    found = index(LONG, "how many eggs does the old hen lay")
    text = f"how many eggs does the old hen lay? {LONG}"
    assert told(found, text)[0] is not None
    assert told(found, text)[0][:2] == ("long", "bench:0:question")  # type: ignore[index]


def test_order_of_items_changes_neither_matches_nor_digest() -> None:
    rows = items("b", [LONG, "how many eggs does the old hen lay", "7 + 8"])
    turned = rows.take(pa.array([2, 0, 1]))
    assert build(rows, CONFIG).digest == build(turned, CONFIG).digest
    assert build(rows, ContaminationConfig(long=12)).digest != build(rows, CONFIG).digest


@pytest.mark.parametrize(
    "text", ["東京の人口は何人ですか、そして大阪の人口は何人ですか", "Сколько яиц несёт курица за семь дней недели в году"]
)
def test_other_scripts_are_cut_into_words_too(text: str) -> None:
    found = index(text)
    assert tiers(found, text + "?", "また、" + text) == ["exact", "long" if "東" in text else "coverage"]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_contains_itself_and_nothing_breaks(a: str, b: str) -> None:
    found = index(a)
    expected = "exact" if cut(a, CONFIG) else None
    assert tiers(found, a, b)[0] == expected


def test_a_megabyte_is_taken() -> None:
    assert tiers(index(LONG), "word " * 200_000 + LONG) == ["long"]
