"""The parts of a report that are pure: answers, passes, repetition, correlations, examples, regions, languages, cut texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.columns import numbers
from ratoon.metrics.embeddings.embed import unit
from ratoon.metrics.report import answers, correlations, examples, language, repetition
from ratoon.metrics.report import pass_vs_agreement as passes
from ratoon.metrics.report import region_map as regions
from ratoon.metrics.report.frame import counted, duplicates, frame, truncated


def rows(found: list[dict[str, Any]]) -> pa.Table:
    names = {name for row in found for name in row}
    columns = {name: [row.get(name) for row in found] for name in names}
    columns.setdefault("row_id", [f"r{i}" for i in range(len(found))])
    columns.setdefault("task_id", columns["row_id"])
    return frame(columns, len(found))


# ------------------------------------------------------------------------------------------------ answers


def judged(task: str, said: list[tuple[str, bool]], gold: str | None = None) -> list[dict[str, Any]]:
    return [{"task_id": task, "completion": text, "passed": right, "gold": gold} for text, right in said]


def test_votes_and_rates_are_filled_in_for_several_replies_a_task() -> None:
    table = rows(judged("a", [("it is 4", True), ("so 4", True), ("5", False)]))
    table = table.set_column(0, "row_id", pa.array(["1", "2", "3"]))
    found = answers.completed(table)
    assert found["vote"].to_pylist() == ["4"] * 3
    assert found["vote_share"].to_pylist() == pytest.approx([2 / 3] * 3)
    assert found["pass_rate"].to_pylist() == pytest.approx([2 / 3] * 3)
    assert found["group_n"].to_pylist() == [3] * 3


def test_single_rows_have_no_vote() -> None:
    found = answers.completed(rows([{"completion": "4", "passed": True}, {"completion": "5", "passed": None}]))
    assert found["vote_share"].to_pylist() == [None, None]
    assert found["pass_rate"].to_pylist() == [1.0, None]


def test_verdicts_that_differ_on_one_answer_are_in_conflict_and_the_minority_is_named() -> None:
    table = answers.completed(rows(judged("a", [("4", True), ("4", True), ("4", False), ("5", False)])))
    assert answers.conflicts(table).tolist() == [False, False, True, False]
    assert not answers.conflicts(answers.completed(rows(judged("a", [("4", True), ("5", False)])))).any()


def test_equal_answers_to_unlike_tasks_are_no_conflict() -> None:
    table = answers.completed(rows([*judged("a", [("4", True), ("4", True)]), *judged("b", [("4", False), ("4", False)])]))
    assert not answers.conflicts(table).any()


def test_a_verdict_is_held_against_the_gold_number_only_where_both_are_numbers() -> None:
    said = [("4", True), ("4", False), ("5", False), ("blue", True)]
    table = answers.completed(rows([*judged("a", said, "4.0"), *judged("b", said[:2], "a word")]))
    found = answers.against_gold(table)
    assert found[:3].tolist() == [0, 1, 0]
    assert np.isnan(found[3:]).all()


# ------------------------------------------------------------------------------------------------ passes


def test_the_corner_holds_groups_that_agree_and_never_pass_surest_first() -> None:
    def group(task: str, share: float, rate: float, n: int = 4) -> list[dict[str, Any]]:
        one = {"task_id": task, "vote_share": share, "pass_rate": rate, "group_n": n, "prompt": task, "vote": "7", "gold": "8"}
        return [one, one]

    table = rows(
        [*group("a", 0.8, 0.0), *group("b", 1.0, 0.0), *group("c", 1.0, 0.5), *group("d", 0.5, 0.0), *group("e", 1, 0, 2)]
    )
    found = passes.passes(table, 0.75, 4)
    assert found is not None
    assert [c["task_id"] for c in found["corner"]] == ["b", "a"]
    assert sum(b["groups"] for b in found["bins"]) == 5
    assert passes.passes(rows([{"completion": "x"}]), 0.75, 4) is None


# ------------------------------------------------------------------------------------------------ repetition


def test_a_shared_run_of_words_is_found_with_its_rows_and_once() -> None:
    said = "please note that the following text is made up"
    texts = [
        f"{said} {i} and {i * 7} more" if i < 5 else f"words {i} are all {i + 1} alone {i * 3} here {i * 11}" for i in range(10)
    ]
    found = repetition.repeated(texts)
    assert found.grams[0]["count"] == 5
    assert found.grams[0]["share"] == 0.5
    assert found.rows[0] == [0, 1, 2, 3, 4]
    assert len(found.grams) == 1


def test_openings_are_a_tree_of_first_words() -> None:
    tree = repetition.openings(["The cat sat", "The cat ran", "The dog ran", "A bird"])
    assert tree[0]["word"] == "The"
    assert tree[0]["rows"] == 3
    assert tree[0]["next"][0] == {"word": "cat", "rows": 2, "next": []}


def test_prompts_are_told_by_verb_and_noun() -> None:
    found = repetition.verb_nouns(
        ["Write a short poem about cats.", "Please write a poem", "What is this?", "Find the mean of 3"]
    )
    assert found[0] == {"verb": "write", "noun": "poem", "rows": 2}
    assert {"verb": "find", "noun": "mean", "rows": 1} in found


# ------------------------------------------------------------------------------------------------ correlations


def test_what_goes_with_length_alone_vanishes_when_length_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    length = rng.normal(size=400)
    columns = {"words": length, "a": length + 0.3 * rng.normal(size=400), "b": length + 0.3 * rng.normal(size=400)}
    found = correlations.correlations(columns, "words")
    assert found is not None
    at = found["names"].index
    assert (found["raw"][at("a")][at("b")] or 0) > 0.8
    assert abs(found["partial"][at("a")][at("b")] or 1) < 0.15


def test_constant_and_unknown_columns_are_left_out() -> None:
    x = np.arange(30.0)
    assert correlations.correlations({"words": x, "one": np.ones(30), "none": np.full(30, np.nan)}, "words") is None
    assert correlations.correlations({}, "words") is None


# ------------------------------------------------------------------------------------------------ examples


def test_best_worst_and_borderline_are_by_the_first_number_that_varies() -> None:
    table = rows([{"passed": True, "pass_rate": i / 10, "completion": str(i)} for i in range(11)])
    found = examples.examples(table, 2, 0)
    assert found["by"] == "pass_rate"
    assert found["best"] == ["r10", "r9"]
    assert found["worst"] == ["r0", "r1"]
    assert "r5" in found["borderline"]


@given(st.permutations(range(12)))
@settings(max_examples=15, deadline=None)
def test_examples_do_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    table = rows([{"reward": float(i % 3), "completion": str(i)} for i in range(12)])
    assert examples.examples(table.take(order), 3, 1) == examples.examples(table, 3, 1)


# ------------------------------------------------------------------------------------------------ regions


def test_regions_are_named_by_the_words_that_set_them_apart() -> None:
    texts = ["the cat chased another cat"] * 30 + ["a planet orbits one star"] * 30
    vectors = unit(np.repeat(np.eye(8)[:2], 30, 0) + 0.01 * np.random.default_rng(0).normal(size=(60, 8)))
    found = regions.fit(vectors, texts, 2, 0)
    said = {word for label in found.labels for word in label.split(", ")}
    assert {"chased", "cat"} <= said
    assert {"planet", "orbits", "star"} & said
    assert len(found.labels) == 2
    assert found.explained[0] > 0.9


def test_a_map_places_rows_as_it_placed_them_when_it_was_fitted() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(80, 8)))
    found = regions.fit(vectors, ["x"] * 80, 10, 0)
    whole, part = regions.place(found, vectors), regions.place(found, vectors[5:9])
    np.testing.assert_allclose(whole[0][5:9], part[0], atol=1e-6)
    assert (whole[1][5:9] == part[1]).all()


def test_one_row_has_a_map() -> None:
    found = regions.fit(unit(np.ones((1, 4))), ["alone"], 10, 0)
    assert found.labels == ["alone"]


# ------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("text", "script", "wanted"),
    [
        ("This is one of the things that we have to do before it is too late for them.", "latin", "en"),
        ("Das ist nicht so einfach, wie es auf den ersten Blick für die Leute aussieht.", "latin", "de"),
        ("Il faut que nous soyons à la maison avant la nuit, et ce n'est pas facile pour elle.", "latin", "fr"),
        ("No es lo que ella quería, pero los niños están en la casa con su madre y no se van.", "latin", "es"),
        ("Это предложение на русском языке, и его алфавит говорит сам за себя.", "cyrillic", "ru"),
        ("3 + 4 = 7", "none", None), ("Yes.", "latin", None),
    ],
)  # fmt: skip
def test_a_language_is_told_where_there_is_enough_of_it(text: str, script: str, wanted: str | None) -> None:
    assert language.languages([text], [script]).to_pylist() == [wanted]


def test_copies_are_found_whatever_the_order_and_the_first_id_stays() -> None:
    table = rows(
        [
            {"row_id": i, "task_id": "t", "prompt": "q", "completion": c}
            for i, c in (("b", "same"), ("a", "same"), ("c", "other"))
        ]
    )
    assert duplicates(table, np.array([1, 1, 1])).to_pylist() == ["a", None, None]


def test_equal_short_replies_of_judged_rows_are_no_copies() -> None:
    long = "a b c d e f g h i j k l"
    table = rows([{"task_id": "t", "prompt": "q", "completion": c, "passed": True} for c in ("4", "4", long, long)])
    assert duplicates(table, numbers(counted(table)["words"]).astype(int)).to_pylist() == [None, None, None, "r2"]


def test_texts_that_end_unfinished_at_one_greatest_length_are_cut() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(["word"] * int(rng.integers(5, 60))) + "." for _ in range(90)] + [" ".join(["word"] * 64)] * 10
    table = rows([{"completion": text} for text in texts])
    found, how = truncated(table, counted(table))
    assert np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist() == list(range(90, 100))
    assert "pile-up" in how
    whole = rows([{"completion": text} for text in texts[:90]])
    assert not any(truncated(whole, counted(whole))[0].to_pylist())


def test_a_finish_reason_is_believed() -> None:
    table = rows(
        [{"completion": "a", "finish_reason": "length"}, {"completion": "b", "finish_reason": "stop"}, {"completion": "c"}]
    )
    assert truncated(table, counted(table))[0].to_pylist() == [True, False, None]
