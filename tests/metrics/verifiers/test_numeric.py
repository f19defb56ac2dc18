from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import ConfigError
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.numeric import specimen, verify

BOXED, TAGGED = {"extract": "boxed"}, {"extract": "tagged"}


@pytest.mark.parametrize("extract", ["last", "boxed", "tagged"])
@pytest.mark.parametrize("gold", ["7", "-7", "3/4", "2.5", "1,234", "0"])
def test_the_gold_passes_its_own_verifier(gold: str, extract: str) -> None:
    args = {"extract": extract}
    assert verify(specimen(gold, args), gold, args).status == "pass"


@pytest.mark.parametrize(
    ("text", "gold", "args"),
    [
        ("the answer is 24", "42", {}),
        ("the answer is 420", "42", {}),
        ("the answer is -42", "42", {}),
        ("the answer is 4.2", "42", {}),
        ("25 ends with 5 as a string: 25", "5", {}),
        ("it was 42, no, 41", "42", {}),
        (r"42 \boxed{41}", "42", BOXED),
        ("42 <answer>41</answer> 42", "42", TAGGED),
        ("0.3333", "1/3", {}),
        ("60%", "0.6", {}),
    ],
)
def test_a_near_miss_is_wrong_and_keeps_its_answer(text: str, gold: str, args: dict) -> None:
    verdict = verify(text, gold, args)
    assert (verdict.status, verdict.detail) == ("fail", "wrong")
    assert verdict.answer is not None


@pytest.mark.parametrize(
    ("text", "args", "detail"),
    [
        ("", {}, "empty"),
        (" \n\t", {}, "empty"),
        ("no digits here", {}, "unparsed: no number"),
        (r"so \boxed{42", BOXED, r"unparsed: no closed \boxed{}"),
        ("42", BOXED, r"unparsed: no closed \boxed{}"),
        ("<answer>42", TAGGED, "unparsed: no 'answer' tag"),
        ("<answer></answer> 42", TAGGED, "unparsed: no number"),
        ("Answer: 42 or 43", TAGGED, "unparsed: different numbers"),
        (r"\boxed{42, 43}", BOXED, "unparsed: different numbers"),
        ("42/0", {}, "unparsed: no plain number, too large, or divided by zero"),
    ],
)
def test_a_reply_without_one_answer_fails_and_says_why(text: str, args: dict, detail: str) -> None:
    verdict = verify(text, "42", args)
    assert (verdict.status, verdict.detail, verdict.answer) == ("fail", detail, None)


@pytest.mark.parametrize("gold", [None, "", "forty-two", "1 or 2", "1/0", "9" * 1000, "10^10^9"])
def test_a_gold_that_is_no_number_abstains_whatever_the_reply(gold: str | None) -> None:
    assert [verify(text, gold, {}).status for text in ("42", "", "junk")] == ["abstain"] * 3


def test_an_abstained_reply_still_carries_its_answer_as_a_vote() -> None:
    assert verify("so 0.5", None, {}).answer == "1/2"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+7", "7"),
        ("−7", "-7"),
        ("=-7", "-7"),
        ("x = - 7", "-7"),
        ("steps:\n- 7", "7"),  # a list bullet is no sign
        ("10-3", "3"),  # here the minus is an operation
        ("so 10 - 3 = 7.", "7"),
        ("3.", "3"),
        (".5", "1/2"),
        ("3.50", "7/2"),
        ("1,234", "1234"),
        ("1 234 567", "1234567"),
        ("1\u202f234", "1234"),
        ("1{,}234", "1234"),
        ("1,234,5", "5"),  # a list, not thousands
        ("12345,678", "678"),
        ("$1,234.50", "2469/2"),
        ("3/4", "3/4"),
        ("-6/8", "-3/4"),
        ("1 1/2", "3/2"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\dfrac{3}{4}", "-3/4"),
        (r"\frac34", "3/4"),
        (r"$\left(\frac{3}{4}\right)$", "3/4"),
        ("1.5e3", "1500"),
        ("1.5E-1", "3/20"),
        (r"2 \times 10^{3}", "2000"),
        ("2 × 10^-2", "1/50"),
        ("10^3", "1000"),
        ("x^2 = 9", "9"),
        ("**7**", "7"),
        ("**7**.", "7"),
        ("__7__", "7"),
        ("7th of 8th", "8"),
        ("1/-2", "-1/2"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: str) -> None:
    assert verify(text, value, {})[:3] == ("pass", 1.0, value)


@pytest.mark.parametrize(
    "text", ["10^10^9", "10**10**9", "1e999999999", "10^(10^9)", "9^99999", "2 × 10^99999999", "9" * 100_000]
)
def test_a_huge_number_is_refused_at_once(text: str) -> None:
    verdict = verify(text, "7", {})
    assert (verdict.status, (verdict.detail or "")[:8], verdict.answer) == ("fail", "unparsed", None)


@pytest.mark.parametrize(
    ("text", "args", "status"),
    [
        ("Answer: 3 + 4 = 7", TAGGED, "pass"),
        ("**Answer:** 7 apples", TAGGED, "pass"),
        ("The answer is 7", TAGGED, "pass"),
        ("Answer:\n7", TAGGED, "pass"),
        ("Answer: 6\nAnswer: 7", TAGGED, "pass"),
        ("<answer>6</answer><answer> 7 </answer> 8", TAGGED, "pass"),
        ("Result: 7", {"extract": "tagged", "tag": "result"}, "pass"),
        (r"\boxed{6} then \boxed{x = 7}", BOXED, "pass"),
        (r"\boxed{\frac{14}{2}}", BOXED, "pass"),
        ("700%", {"percent": "fraction"}, "pass"),
        ("7%", {}, "pass"),
        ("7.04", {"tolerance": 0.05}, "pass"),
        ("7.06", {"tolerance": 0.05}, "fail"),
        ("10 007", {}, "fail"),
        ("10 007", {"thousands": "comma"}, "pass"),
    ],
)
def test_the_arguments_decide_what_is_read(text: str, args: dict, status: str) -> None:
    assert verify(text, "7", args).status == status


@pytest.mark.parametrize("args", [{"extract": "first"}, {"tagg": "x"}, {"tolerance": -1}, {"tag": ""}])
def test_bad_arguments_are_refused(args: dict) -> None:
    with pytest.raises(ConfigError):
        verify("7", "7", args)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_any_fraction_survives_the_way_through_text(above: int, below: int) -> None:
    value = Fraction(above, below)
    assert verify(f"so it is {value}", numbers.canonical(value), {}).answer == str(value)


@given(st.integers(-(10**15), 10**15))
def test_grouped_digits_read_like_plain_ones(value: int) -> None:
    assert verify(f"{value:,}", str(value), {}).status == "pass"
    assert verify(f"= {value:,}".replace(",", " "), str(value), {}).status == "pass"


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    for args in ({}, BOXED, TAGGED):
        assert verify(text, "7", args).status in ("pass", "fail")
