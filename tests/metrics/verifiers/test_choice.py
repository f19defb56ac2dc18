import pytest

from ratoon.metrics.verifiers.choice import specimen, verify


@pytest.mark.parametrize("where", ["any", "boxed", "tagged", "last"])
def test_the_gold_passes_its_own_verifier(where: str) -> None:
    assert verify(specimen("C", {"extract": where}), "C", {"extract": where}).status == "pass"


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "(b)",
        "Answer: b",
        "Answer: **B** because A is too small",
        "I first thought C.\nNow B.",
        r"A, so \boxed{\text{B}}",
        "[B]",
        "B, not A",
    ],
)
def test_one_letter_is_found_where_people_put_it(text: str) -> None:
    verdict = verify(text, "(B)", {})
    assert (verdict.status, verdict.answer) == ("pass", "B")


@pytest.mark.parametrize("text", ["A or B", r"\boxed{A, B}", "Answer: A/B", "(a) and (b)"])
def test_hedging_between_two_letters_is_no_answer(text: str) -> None:
    assert verify(text, "B", {}).detail == "unparsed: different letters AB"


@pytest.mark.parametrize("text", ["C", "Answer: C", r"\boxed{C}"])
def test_another_letter_is_wrong(text: str) -> None:
    assert verify(text, "B", {})[2:] == ("C", "wrong")


@pytest.mark.parametrize(
    ("text", "detail"), [("", "empty"), ("a big bee", "unparsed: no letter"), ("F", "unparsed: no letter")]
)
def test_a_reply_without_a_letter_fails(text: str, detail: str) -> None:
    assert verify(text, "B", {}).detail == detail


@pytest.mark.parametrize("gold", [None, "", "F", "AB", "the second"])
def test_a_gold_that_is_no_choice_abstains(gold: str | None) -> None:
    assert verify("B", gold, {}).status == "abstain"


def test_the_letters_are_configured() -> None:
    assert verify("F", "F", {"letters": "ABCDEF"}).status == "pass"
