"""Texts as models dress them, by kind of dress: each row is arguments, a gold, a reply and the right verdict."""

from __future__ import annotations

import time

import pytest

from ratoon.metrics.verifiers.exact import specimen, verify

WHOLE, LINE, BOX, TAG = {}, {"extract": "last_line"}, {"extract": "boxed"}, {"extract": "tagged"}

WORDINGS = {
    "emphasis": [
        (TAG, "Paris", "Answer: **Paris**", "pass"),
        (TAG, "Paris", "**Answer: Paris**", "pass"),
        (TAG, "Paris", "Answer: `Paris`", "pass"),
        (TAG, "Paris", "__Answer: Paris__", "pass"),
        (TAG, "Paris", "Answer: _Paris_", "pass"),
        (TAG, "Paris", "**Answer:** *Paris*", "pass"),
        (TAG, "Paris", "<answer>**Paris**</answer>", "pass"),
        (TAG, "Paris", "Answer: **`Paris`**", "pass"),
        (WHOLE, "Paris", "**Paris**", "pass"),
        (WHOLE, "Paris", "_Paris_", "pass"),
        (LINE, "New York", "It is:\n**New York**", "pass"),
        (BOX, "x", r"\boxed{$x$}", "pass"),
        (WHOLE, "__init__", "__init__", "pass"),
        (WHOLE, "__init__", "`__init__`", "pass"),
        (WHOLE, "init", "in_it", "fail"),
        (WHOLE, "Paris", "**Paris** or **Rome**", "fail"),
        (TAG, "Paris", "Answer: **Rome**", "fail"),
        (WHOLE, "a*b*c", "a*b*c", "pass"),
    ],
    "composed and decomposed letters": [
        (TAG, "café", "<answer>cafe\u0301</answer>", "pass"),
        (TAG, "cafe\u0301", "<answer>café</answer>", "pass"),
        (TAG, "\u00c5sa", "<answer>A\u030asa</answer>", "pass"),
        (TAG, "\u00c5sa", "<answer>\u212bsa</answer>", "pass"),
        (WHOLE, "가", "\u1100\u1161", "pass"),
        (WHOLE, "café", "cafe", "fail"),
    ],
    "floats of a table": [
        (WHOLE, "4.0", "4", "pass"),
        (TAG, "4.0", "<answer>4</answer>", "pass"),
        (TAG, "-12.0", "Answer: **-12**", "pass"),
        (WHOLE, "4.0", "4.0", "pass"),
        (WHOLE, "4.0", "40", "fail"),
        (WHOLE, "4.5", "4", "fail"),
        (WHOLE, "4", "4.0", "fail"),
    ],
    "several boxes": [
        (BOX, "Paris", r"\boxed{Paris} or \boxed{Rome}", "fail"),
        (BOX, "1, 2", r"\boxed{1} and \boxed{2}", "pass"),
        (BOX, "Rome", r"\boxed{Paris}? No, it was \boxed{Rome}.", "pass"),
        (BOX, "Rome", r"\fbox{Rome}", "pass"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "gold", "reply", "right"), [row for rows in WORDINGS.values() for row in rows], ids=lambda value: str(value)[:40]
)
def test_a_wording_gets_the_right_verdict(args: dict, gold: str, reply: str, right: str) -> None:
    assert verify(reply, gold, args).status == right


@pytest.mark.parametrize("gold", ["4.0", "cafe\u0301", "__init__", "**bold**", "`x`"])
@pytest.mark.parametrize("args", [WHOLE, LINE, BOX, TAG])
def test_a_gold_passes_its_own_check(gold: str, args: dict) -> None:
    assert verify(specimen(gold, args), gold, args).status == "pass"


def test_equal_texts_in_other_dress_are_one_vote() -> None:
    replies = ["Answer: **Paris**", "**Answer: Paris**", "Answer: `Paris`", "<answer>Paris</answer>"]
    assert {verify(reply, None, TAG).answer for reply in replies} == {"Paris"}


@pytest.mark.parametrize("unit", ["**", "_", r"\boxed{", "<answer>", "`", "answer: ", "\n"])
@pytest.mark.parametrize("args", [WHOLE, LINE, BOX, TAG])
def test_a_reply_that_loops_to_100_kb_is_judged_at_once(unit: str, args: dict) -> None:
    start = time.process_time()
    assert verify(unit * (100_000 // len(unit)), "Paris", args).status == "fail"
    assert time.process_time() - start < 1
