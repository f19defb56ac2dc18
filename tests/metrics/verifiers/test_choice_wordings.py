"""Choices as models word them, by kind of wording: each row is arguments, a gold, a reply and the right verdict."""

from __future__ import annotations

import time

import pytest

from ratoon.metrics.verifiers.choice import specimen, verify

FIVE, TEN = {}, {"letters": "ABCDEFGHIJ"}
CITIES = {"options": ["Oslo", "Paris", "New York", "York"]}

WORDINGS = {
    "the article A and the pronoun I": [
        (TEN, "C", "The answer is C because I computed the integral.", "pass"),
        (TEN, "C", "After all that, I choose C. I am sure.", "pass"),
        (TEN, "I", "I am not sure.", "fail"),
        (FIVE, "A", "A city is not a river.", "fail"),
        (FIVE, "A", "A perfect answer cannot be found.", "fail"),
        (TEN, "C", "The answer is C. I hope this helps.", "pass"),
        (TEN, "I", "I think it is D.", "fail"),
        (TEN, "D", "I think it is D.", "pass"),
        (TEN, "I", "The answer is I.", "pass"),
        (TEN, "I", "The answer is (I), I believe.", "pass"),
        (FIVE, "A", "The answer is a city.", "fail"),
        (FIVE, "A", "The answer is A.", "pass"),
        (FIVE, "A", "A is correct.", "pass"),
        (FIVE, "A", "A because the others are too large.", "pass"),
        (TEN, "I", "I have no idea, I would need more time", "fail"),
        (TEN, "A", "A good question. I would say it needs more time.", "fail"),
        (TEN, "H", "It's H, as I said.", "pass"),
        (FIVE, "A", "What a day.", "fail"),
    ],
    "words behind the answer": [
        (FIVE, "B", "The answer is B. Note that A is a common distractor.", "pass"),
        (FIVE, "B", "Answer: B, because A is smaller.", "pass"),
        (FIVE, "B", r"\boxed{\text{(B) A city}}", "pass"),
        (FIVE, "B", r"\boxed{\textbf{B}}", "pass"),
        (FIVE, "B", r"\boxed{\mathrm{B}}", "pass"),
        (FIVE, "B", r"\boxed{B: Paris}", "pass"),
        (FIVE, "B", "B\n\nExplanation: A is too small, C is too large, D is no city.", "pass"),
        (FIVE, "B", "Not A. Not C. So B.", "pass"),
        (FIVE, "B", "B, not A", "pass"),
        (FIVE, "B", "The answer is B, so C and D must be excluded.", "pass"),
        (FIVE, "B", "A is wrong. C is wrong. B is correct, D is out.", "pass"),
        (FIVE, "C", "A is wrong. C is wrong. B is correct, D is out.", "fail"),
        (FIVE, "B", "**Answer:** (B) Paris\n\nA) is in Norway, C) is in America.", "pass"),
        (FIVE, "B", "The correct option is (B).\nOption A is too far north.", "pass"),
        (FIVE, "B", "Answer: B\nOption A is too small.\nOption D is no city.", "pass"),
        (FIVE, "B", "<answer>B) Paris, as A is no city</answer>", "pass"),
        (FIVE, "B", "I would go with B over C.", "pass"),
        (FIVE, "B", "The answer is A. Wait, no: B.", "pass"),
        (FIVE, "A", "The answer is A. Wait, no: B.", "fail"),
        (FIVE, "B", "The answer is not A. The answer is B.", "pass"),
        (FIVE, "A", "The answer is not A.", "fail"),
        (FIVE, "B", '{"answer": "B"}', "pass"),
        (FIVE, "B", "答案是B。", "pass"),
        (FIVE, "B", "La réponse est B.", "pass"),
    ],
    "lower case": [
        (FIVE, "B", "b", "pass"),
        (FIVE, "B", "b. Paris", "pass"),
        (FIVE, "B", "b) Paris", "pass"),
        (FIVE, "B", "(b)", "pass"),
        (FIVE, "B", "Answer: b", "pass"),
        (FIVE, "B", "The answer is c)", "fail"),
        (FIVE, "C", "The answer is c)", "pass"),
        (FIVE, "C", "the correct answer is (c) New York.", "pass"),
        (FIVE, "b", "B", "pass"),
        (FIVE, "B", "Ｂ", "pass"),
        (FIVE, "B", r"\boxed{b}", "pass"),
        (FIVE, "A", "a big bee", "fail"),
        (FIVE, "D", "i. d. est", "fail"),
    ],
    "hedging": [
        (FIVE, "B", "A or B", "fail"),
        (FIVE, "B", "The answer is A or B.", "fail"),
        (FIVE, "B", "Either (A) or (B).", "fail"),
        (FIVE, "B", r"\boxed{A}, \boxed{B}", "fail"),
        (FIVE, "B", r"\boxed{A/B}", "fail"),
        (FIVE, "B", "Answer: A, B", "fail"),
        (FIVE, "B", "A. Oslo\nB. Paris\nC. York", "fail"),
        (FIVE, "B", "(a) and (b)", "fail"),
        (FIVE, "B", "Both A and B are right.", "fail"),
    ],
    "a list of options before the answer": [
        (FIVE, "B", "A. Oslo\nB. Paris\nC. York\n\nThe answer is B", "pass"),
        (FIVE, "B", "A. Oslo\nB. Paris\nC. York\n\nSo B", "pass"),
        (FIVE, "B", "A. Oslo is no.\nC. York is no.\n\nTherefore, the correct choice is **(B) Paris**.", "pass"),
    ],
    "options by text and place": [
        (CITIES, "1", "B", "pass"),
        (CITIES, "1", "The answer is Paris.", "pass"),
        (CITIES, "1", r"\boxed{\text{Paris}}", "pass"),
        (CITIES, "Paris", "(B)", "pass"),
        (CITIES, "3", "It must be New York.", "fail"),
        (CITIES, "2", "It must be New York.", "pass"),
        (CITIES, "3", "It must be York.", "pass"),
        (CITIES, "1", "Paris or Oslo", "fail"),
        (CITIES | {"first": 1}, "2", "B", "pass"),
        ({"options": ["4", "8", "15"]}, "1", r"\boxed{8}", "pass"),
        ({"options": ["4", "8", "15"]}, "2", r"\boxed{8}", "fail"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "gold", "reply", "right"), [row for rows in WORDINGS.values() for row in rows], ids=lambda value: str(value)[:40]
)
def test_a_wording_gets_the_right_verdict(args: dict, gold: str, reply: str, right: str) -> None:
    assert verify(reply, gold, args).status == right


@pytest.mark.parametrize(
    ("gold", "args"),
    [("b", {}), ("(B)", {}), ("B. Paris", {}), ("1", CITIES), ("Paris", CITIES), ("B", CITIES), ("4", CITIES | {"first": 1})],
)
@pytest.mark.parametrize("where", ["any", "boxed", "tagged", "last"])
def test_a_gold_may_be_given_so_and_passes_its_own_check(gold: str, args: dict, where: str) -> None:
    args = args | {"extract": where}
    assert verify(specimen(gold, args), gold, args).status == "pass"


@pytest.mark.parametrize("gold", ["4", "-1", "Rome", "E"])
def test_a_gold_that_is_none_of_the_options_abstains(gold: str) -> None:
    assert verify("B", gold, CITIES).status == "abstain"


@pytest.mark.parametrize(
    "unit",
    [
        r"\boxed{",
        "answer is ",
        "A or ",
        "so ",
        "the answer to ",
        "A, ",
        "(",
        "I ",
        "is ",
        "\n",
        "A.\n",
        "either ",
        "$",
        "not A. ",
    ],
)
@pytest.mark.parametrize("where", ["any", "tagged", "last"])
def test_a_reply_that_loops_to_100_kb_is_judged_at_once(unit: str, where: str) -> None:
    reply = unit * (100_000 // len(unit))
    start = time.process_time()
    assert verify(reply, "D", {"extract": where}).status == "fail"
    assert time.process_time() - start < 1
