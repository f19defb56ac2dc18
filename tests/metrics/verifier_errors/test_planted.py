"""Planted replies: right ones are right, wrong ones are wrong, every format is met, nothing depends on the order of rows."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon import schema
from ratoon.metrics.verifier_errors.planted import plant
from ratoon.metrics.verifiers import VERIFIERS, numbers
from ratoon.metrics.verifiers.formats import families, values, wordings
from ratoon.metrics.verifiers.numeric import verify
from ratoon.metrics.verifiers.plain_numbers import tidy


def tasks(verifier: str | None, answers: list[str], args: dict | None = None):
    rows = [
        {"task_id": f"t{i}", "family": "f", "answer": a, "verifier": verifier, "verifier_args": json.dumps(args or {})}
        for i, a in enumerate(answers)
    ]
    return schema.from_rows("tasks", rows)


@given(st.fractions(max_denominator=40), st.sampled_from([0.0, 0.5, 3.0]))
def test_a_wrong_number_is_further_off_than_the_tolerance_and_a_right_one_is_equal(value: Fraction, tolerance: float) -> None:
    args, answer = {"tolerance": tolerance}, str(value)
    wrong = values.wrong_number(answer, args, ())
    assert wrong
    for text in wrong.values():
        said = numbers.whole(text)
        assert said is not None
        assert abs(said.value - value) > Fraction(str(tolerance))
    for text in values.right_number(answer, args).values():
        assert numbers.whole(text).value == value


def test_every_family_that_nobody_asked_for_is_planted_right_and_wrong_and_never_says_what_is_asked_for() -> None:
    golds = ["7/2", "-20", "12500", "1/3", "0.125", "13/4", "-3/8", "9000000"]
    found = [p for p in plant(tasks("numeric", golds, {"extract": "boxed"}), 400, 0) if not p.asked and not p.trap]
    forms = {family for gold in golds for family in families.of_number(gold)}
    for right in (True, False):
        assert {p.family for p in found if p.right is right} == forms | set(families.PLACES)
    assert not {p.text for p in found} & {f"Thus $\\boxed{{{gold}}}$." for gold in golds}


@given(st.fractions(min_value=-(10**7), max_value=10**7, max_denominator=40))
def test_a_form_says_the_number_that_it_is_a_form_of(value: Fraction) -> None:
    for family, forms in families.of_number(str(value)).items():
        for text in forms.values():
            said = numbers.find(numbers.joined_sign(tidy(text)), decimal="comma" if family == "decimal commas" else "auto")
            near = Fraction(1, 1000) if family == "roundings" else 0
            assert said, (family, text)
            assert abs(said[0].value - value) <= near or family == "units", (family, text)


def test_answers_of_other_tasks_are_wrong_only_where_they_differ_in_more_than_order_and_case() -> None:
    others = ("b, a", "A,B", "c")
    assert list(values.other_answers("a,b", {}, others).values()) == ["c"]


@pytest.mark.parametrize("place", ["last", "boxed", "tagged"])
def test_every_usual_format_is_planted_and_an_obedient_reader_reads_it(place: str) -> None:
    found = plant(tasks("numeric", [str(i) for i in range(-20, 40)], {"extract": place}), 100, 0)
    usual = [p for p in found if p.asked]
    assert {p.format.partition(":")[0] for p in usual if p.right} == {s.name for s in wordings.at(place).usual}
    statuses = {(p.right, verify(p.text, p.answer, p.args).status) for p in usual}
    assert statuses == {(True, "pass"), (False, "fail")}
    assert sum(p.right for p in usual) == sum(not p.right for p in usual) == 100


def test_a_misreading_verifier_is_caught_by_wrong_replies_that_mention_the_right_answer() -> None:
    def contains(text: str, answer: str) -> bool:
        return answer in text

    found = [p for p in plant(tasks("numeric", ["17", "23", "42", "99"]), 60, 0) if not p.right and not p.trap]
    assert any(contains(p.text, p.answer) for p in found)


def test_few_tasks_meet_all_formats_and_no_reply_twice() -> None:
    found = plant(tasks("numeric", ["7"]), 50, 0)
    assert len({p.text for p in found if p.right and p.asked}) == len([p for p in found if p.right and p.asked]) >= 9


@pytest.mark.parametrize("n", [2, 7, 8, 9, 17])
def test_every_format_is_met_whatever_the_number_of_tasks(n: int) -> None:
    found = plant(tasks("numeric", [str(i) for i in range(10, 10 + n)]), 200, 0)
    assert {p.format.partition(":")[0] for p in found if p.right and p.asked} == {s.name for s in wordings.LAST}


def test_the_plan_is_the_same_in_any_order_of_tasks() -> None:
    table = tasks("exact", ["red", "blue", "green", "grey"])
    assert set(map(repr, plant(table, 20, 3))) == set(map(repr, plant(table.take([2, 0, 3, 1]), 20, 3)))


def test_a_label_never_carries_an_answer_of_many_lines() -> None:
    found = plant(tasks("reasoning_gym", ["1 2\n3 4", "5 6\n7 8"], {"dataset": "sudoku", "entry": {}}), 30, 0)
    assert found
    assert not [p for p in found if p.format.startswith(("label", "bold label"))]


def test_tasks_without_a_verifier_or_with_broken_arguments_plant_nothing() -> None:
    broken = schema.from_rows("tasks", [{"task_id": "t", "answer": "7", "verifier": "numeric", "verifier_args": "{"}])
    assert plant(broken, 10, 0) == plant(tasks(None, ["7"]), 10, 0) == []


def test_a_verifier_of_ones_own_is_asked_with_bare_answers_and_silence_only() -> None:
    found = plant(tasks("parity", ["odd", "even"] * 5), 20, 0)
    assert all(p.asked for p in found)
    assert {p.text for p in found if p.right} == {"odd", "even"}
    assert {p.text for p in found if not p.right} == {"odd", "even", "", wordings.SILENT[1].text}
    assert all(p.text != p.answer for p in found if not p.right)


def test_what_is_planted_before_a_new_verifier_comes_from_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERIFIERS, "parity", VERIFIERS["exact"])
    found = plant(tasks("parity", ["odd", "even"] * 5, {"extract": "tagged"}), 20, 0)
    assert {p.format.partition(":")[0] for p in found if p.right and p.asked} == {way.name for way in wordings.TAGGED}


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_says_what_is_planted_under_any_arguments(name: str) -> None:
    for place in [*wordings.USUAL, "nowhere"]:
        formats = VERIFIERS[name].formats({"extract": place})
        assert isinstance(formats.wordings, wordings.Wordings)
    assert VERIFIERS[name].formats({}).wordings.usual


def test_fields_inside_an_answer_are_left_alone() -> None:
    way = wordings.Wording("x", "<{tag}>{said}</{tag}>")
    assert wordings.word(way, "{gold}", "7", "8", "a") == "<a>{gold}</a>"
