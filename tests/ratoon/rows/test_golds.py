import pytest

from ratoon.rows.golds import GoldRule, NoGold, golds

CHOICES = {"choices": ["red", "green", "blue"]}
ARC = {"choices": {"text": ["ice", "steam"], "label": ["1", "2"]}}


@pytest.mark.parametrize(
    ("value", "row", "rule", "gold"),
    [
        ("She has 3 + 4 = <<3+4=7>>7.\n#### 7", {}, GoldRule(after="####"), "7"),
        ("#### 1\nno:\n#### 1,000 ", {}, GoldRule(after="####"), "1,000"),
        (r"Thus \boxed{1}, no: $\boxed{\frac{1}{2}}$.", {}, GoldRule(boxed=True), r"\frac{1}{2}"),
        (r"\boxed {\left\{1, 2\right\}}", {}, GoldRule(boxed=True), r"\left\{1, 2\right\}"),
        ("The answer is (B) because", {}, GoldRule(regex=r"\(([A-Z])\)"), "B"),
        ("A: 3. A: 4.", {}, GoldRule(regex=r"\d"), "4"),
        (2, CHOICES, GoldRule(index_into="choices"), "blue"),
        ("0", CHOICES, GoldRule(index_into="choices"), "red"),
        ("B", CHOICES, GoldRule(index_into="choices"), "green"),
        ("(c)", CHOICES, GoldRule(index_into="choices"), "blue"),
        ("2", ARC, GoldRule(index_into="choices"), "steam"),
        ("It is #### C", CHOICES, GoldRule(after="####", index_into="choices"), "blue"),
    ],
)
def test_a_rule_reads_the_gold_out_of_what_the_file_says(value, row, rule, gold):
    assert golds(value, row, rule) == [gold]


def test_without_a_rule_a_gold_is_the_text_as_it_stands():
    assert golds(" 7\n", {}) == [" 7\n"]
    assert golds(2.0, {}) == ["2.0"]
    assert golds(None, {}) == golds(float("nan"), {}) == golds([], {}) == []


def test_a_list_holds_golds_of_which_any_will_do_each_once():
    assert golds(["four", "4", "four"], {}) == ["four", "4"]
    assert golds({"text": ["four", "4"], "answer_start": [0, 3]}, {}) == ["four", "4"]
    assert golds([0, 2], CHOICES, GoldRule(index_into="choices")) == ["red", "blue"]


@pytest.mark.parametrize(
    ("value", "row", "rule", "message"),
    [
        ("seven", {}, GoldRule(after="####"), "no '####'"),
        ("seven", {}, GoldRule(boxed=True), r"no \\boxed"),
        (r"\boxed{1", {}, GoldRule(boxed=True), "does not end"),
        ("seven", {}, GoldRule(regex=r"\d"), "does not match"),
        (3, CHOICES, GoldRule(index_into="choices"), "none of the 3"),
        ("all of them", CHOICES, GoldRule(index_into="choices"), "names no place"),
        (True, {}, GoldRule(), "a bool"),
        ({"a": 1}, {}, GoldRule(), "a dict"),
    ],
)
def test_a_gold_that_is_not_what_the_rule_says_is_named(value, row, rule, message):
    with pytest.raises(NoGold, match=message):
        golds(value, row, rule)
