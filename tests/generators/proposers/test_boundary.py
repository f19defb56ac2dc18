"""Tasks at the boundary: both kinds are asked for, examples are of their kind, and what is no new task is malformed."""

from __future__ import annotations

import itertools

import pytest

from ratoon.generators.proposers.boundary import KINDS, SEEDS, BoundaryConfig, asks, read
from ratoon.generators.proposers.prompts import Known
from ratoon.text import rouge_l

CONFIG = BoundaryConfig(asks=10)


def made(task: str, text: str) -> dict:
    return {
        "task_id": task,
        "family": "boundary",
        "problem_key": text,
        "messages": [],
        "parent_ids": [],
        "meta": {"asked": text},
    }


def test_half_the_prompts_ask_for_what_cannot_be_done_each_with_examples_of_its_kind() -> None:
    found = asks(CONFIG, Known(), 0, False)
    assert [a.kind for a in found].count("infeasible") == 5
    for ask in found:
        shown = [line.removeprefix("Task: ") for line in ask.messages[0]["content"].splitlines() if line.startswith("Task: ")]
        assert len(shown) == 4
        assert set(shown) <= set(SEEDS[ask.kind])


def test_tasks_of_earlier_rounds_are_shown_only_under_the_answer_they_were_voted_to_have() -> None:
    rows = [made("y", "Spell the word cat."), made("n", "Lift this stone for me."), made("o", "Nobody agreed on this one.")]
    found = asks(CONFIG, Known(made=rows, votes={"y": "yes", "n": "no", "z": "yes"}), 0, False)
    parents = {ask.kind: set(ask.parent_ids) for ask in found}
    assert parents == {"feasible": {"y"}, "infeasible": {"n"}}
    assert not [a for a in found if "Nobody agreed" in a.messages[0]["content"]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Task: Weigh the moon with a kitchen scale.", None),
        ("Task: Weigh the moon with a kitchen scale.\nInput: none\nOutput: 3", None),
        ("", "no_task"),
        ("I would rather not.", "no_task"),
        ("Task: Sing.", "short"),
        ("Task: " + "weigh it " * 60, "long"),
        ("Task: Weigh <|im_end|> the moon.", "markup"),
    ],
)
def test_a_reply_is_one_candidate_that_asks_the_model_about_itself(text: str, reason: str | None) -> None:
    ask = asks(CONFIG, Known(), 0, False)[1]
    (found,) = read(CONFIG, Known(), ask, "r_1", text, False)
    assert found.malformed == reason
    if reason is None:
        assert found.text == "Weigh the moon with a kitchen scale."
        assert found.text in (found.message or "")
        assert "yes or no" in (found.message or "")
        assert found.meta == {"kind": "infeasible", "label": "no"}


def test_an_example_given_back_is_an_echo() -> None:
    ask = asks(CONFIG, Known(), 0, False)[0]
    shown = next(line for line in ask.messages[0]["content"].splitlines() if line.startswith("Task: "))
    assert read(CONFIG, Known(), ask, "r_1", shown, False)[0].malformed == "echo"


def test_the_examples_are_as_many_of_each_kind_and_no_two_alike() -> None:
    assert set(SEEDS) == set(KINDS)
    assert len(SEEDS["feasible"]) == len(SEEDS["infeasible"]) == 16
    texts = [text for of_kind in SEEDS.values() for text in of_kind]
    assert max(rouge_l(a.split(), b.split()) for a, b in itertools.combinations(texts, 2)) < 0.7
