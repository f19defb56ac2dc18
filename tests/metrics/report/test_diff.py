"""Rows by key, numbers by interval, and rules: what fails, what does not, and what nobody can know."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import UsageError
from ratoon.metrics.report import diff as difference
from ratoon.metrics.report.diff_text import code, markdown
from ratoon.metrics.stats.measures import Measure

KEYS = st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True)


def measure(value: float, slack: float, metric: str = "diversity.vendi", size: int = 100) -> Measure:
    return Measure(metric, "1", value, 100, value - slack, value + slack, params={"size": size})


def verdict(rule: str, old: Measure, new: Measure) -> difference.Verdict:
    found, left = difference.differences({old.metric: old}, {new.metric: new})
    return difference.judge(difference.parse(rule), {}, found, left)


@given(KEYS, KEYS)
def test_every_row_is_added_removed_or_common(old: list[str], new: list[str]) -> None:
    found = difference.changes(pa.array(old, pa.string()), pa.array(new, pa.string()))
    assert set(found.added.to_pylist()) == set(new) - set(old)
    assert set(found.removed.to_pylist()) == set(old) - set(new)
    assert found.common == len(set(old) & set(new))
    assert found.changed is None


def test_a_decision_changed_where_both_sides_decided_otherwise() -> None:
    before, after = {"a": "kept", "b": "kept", "x": "kept"}, {"a": "kept", "b": "dropped: length", "y": "kept"}
    found = difference.changes(pa.array(["a", "b"]), pa.array(["a"]), before, after)
    assert found.changed == {"b": ("kept", "dropped: length")}
    assert difference.shares(found, 2, 1, None) == {
        "rows": -0.5, "rows_added": 0.0, "rows_removed": 0.5, "decisions_changed": 0.5, "contamination": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "fails"),
    [("vendi<-10%", True), ("vendi<-25%", False), ("vendi<-5", True), ("vendi<-15", False), ("vendi>0", False),
     ("vendi<=-10", True), ("diversity.vendi<-10%", True)],
)  # fmt: skip
def test_a_rule_holds_the_change_against_its_limit(rule: str, fails: bool) -> None:
    assert verdict(rule, measure(50, 1), measure(40, 1)).fails is fails


def test_a_relative_value_and_its_interval_are_shares_of_the_old_one() -> None:
    found = verdict("vendi<-10%", measure(50, 3), measure(40, 4))
    assert found.value == pytest.approx(-0.2)
    assert (found.lo, found.hi) == pytest.approx((-0.3, -0.1))


def test_a_change_whose_interval_holds_nothing_fails_nothing() -> None:
    found = verdict("vendi<-10%", measure(50, 12), measure(40, 12))
    assert not found.fails
    assert "no detectable change" in found.why


def test_numbers_that_were_not_made_alike_fail_the_rule_that_asks_for_them() -> None:
    found = verdict("vendi<-10%", measure(50, 1, size=100), measure(50, 1, size=200))
    assert found.fails
    assert found.value is None
    assert "cannot be compared" in found.why


def test_what_nobody_knows_fails_and_says_what_mends_it() -> None:
    shared = difference.shares(difference.changes(pa.array(["a"]), pa.array(["a"])), 1, 1, None)
    found = difference.judge(difference.parse("contamination>0"), shared, [])
    assert found.fails
    assert "--benchmark" in found.why
    clean = difference.judge(difference.parse("contamination>0"), shared | {"contamination": 0.0}, [])
    assert not clean.fails


@pytest.mark.parametrize("text", ["vendi", "vendi<", "vendi<ten", "vendi=3", "<3", "vendi < 3 rows", "contamination>1%"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="fail-on"):
        difference.parse(text)


def test_an_unknown_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(UsageError) as told:
        difference.parse("vendy<-10%")
    assert "did you mean vendi?" in told.value.hint
    assert all(name in told.value.hint for name in (*difference.ROWS, *difference.METRICS))
    with pytest.raises(UsageError, match="was not measured"):
        difference.judge(difference.parse("quality.nonsense>0"), {}, [])


def test_only_rules_on_meaning_ask_for_an_embedding_model() -> None:
    assert difference.parse("vendi<-10%").embeds
    assert not difference.parse("gzip>25%").embeds


def test_a_code_span_holds_whatever_a_model_wrote() -> None:
    hostile = "a`` ](javascript:x) | @team <script>\n# head \x1b[31m\u202e"
    told = code(hostile)
    assert told.startswith("``` ")
    assert told.endswith(" ```")
    assert "\n" not in told
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert " \\| " in told
    assert code(None) == code("  ") == "–"


def test_the_markdown_says_failed_rules_first_and_keeps_rows_on_their_lines() -> None:
    side = {"name": "a|b.jsonl", "rows": 2}
    rule = {"rule": "rows_removed>0", "fails": True, "value": 0.5, "lo": None, "hi": None, "why": "share"}
    row = {"row_id": "r", "why": None, "prompt": "one\n| two |", "completion": "`x`"}
    told = {"old": side, "new": side, "rules": [rule], "rows": {"rows_removed": 0.5}, "differences": [],
            "not_compared": [], "examples": {"removed": [row]}}  # fmt: skip
    text = markdown(told)
    assert text.startswith("### ratoon diff: 1 of 1 rules failed\n")
    assert "| `r` | `one \\| two \\|` | `` `x` `` | – |" in text
