import pytest

from ratoon.metrics.verifiers.math import specimen, verify


@pytest.mark.parametrize("gold", ["7", r"\frac{1}{2}", "$x^2+1$", r"\boxed{3}", "[1,2)", r"\{1,2\}"])
def test_the_gold_passes_its_own_verifier(gold: str) -> None:
    assert verify(specimen(gold, {}), gold, {}).status == "pass"


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (r"The final answer is $\frac{1}{2}$.", "0.5"),
        (r"\boxed{x^2+2x+1}", "(x+1)^2"),
        (r"first \boxed{1}, then \boxed{1,234}", "1234"),
        (r"\boxed{x = 3}", "3"),
        ("The answer is 8", "8"),
    ],
)
def test_equivalent_forms_pass(text: str, gold: str) -> None:
    assert verify(text, gold, {}).status == "pass"


@pytest.mark.parametrize(
    ("text", "gold"), [(r"\boxed{0.51}", "0.5"), (r"\boxed{x+1}", "x-1"), (r"8 \boxed{7}", "8"), (r"\boxed{\text{cat}}", "3")]
)
def test_a_near_miss_is_wrong(text: str, gold: str) -> None:
    assert verify(text, gold, {}).detail == "wrong"


@pytest.mark.parametrize("text", ["junk", r"\boxed{}", r"\boxed{10^{10^9}}", r"\boxed{2^{99999999}}"])
def test_what_does_not_parse_is_unparsed_and_not_wrong(text: str) -> None:
    assert verify(text, "3", {})[::3] == ("fail", "unparsed: no expression")


def test_a_truncated_box_counts_only_without_boxed_only() -> None:
    assert verify(r"so \boxed{3", "3", {"boxed_only": True}).detail == "unparsed: no expression"
    assert verify("", "3", {}).detail == "empty"


@pytest.mark.parametrize("gold", [None, "", "???", "10^{10^9}"])
def test_a_gold_that_does_not_parse_abstains(gold: str | None) -> None:
    assert [verify(text, gold, {}).status for text in (r"\boxed{3}", "", "junk")] == ["abstain"] * 3


def test_equal_numbers_in_other_clothes_are_one_vote() -> None:
    assert {verify(rf"\boxed{{{text}}}", "1/2", {}).answer for text in ("0.5", r"\frac{1}{2}", "1/2", "0.50")} == {"1/2"}
