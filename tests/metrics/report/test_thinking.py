"""What the audit says of thinking: counted by hand, and nothing where nobody thinks."""

from __future__ import annotations

from ratoon import schema
from ratoon.metrics.report.thinking import told


def replies(*rows: dict[str, object]):
    return schema.from_rows("rollouts", [{"rollout_id": str(i)} | row for i, row in enumerate(rows)])


def test_words_of_thought_and_the_share_unfinished_are_told() -> None:
    rows = replies(
        {"text": "<think> a b </think> 7", "answer_start": 21},
        {"text": "<think> a b c d </think> 7", "answer_start": 25},
        {"text": "7", "answer_start": 0},
        {"text": "a b c", "meta": '{"unfinished_thinking":true}'},
        {"error": "Busy: later"},
    )
    assert told(rows) == [
        "25.0% of 4 replies never stopped thinking and have no answer; the other 2 that think do it in 3 words (median)"
    ]
    assert told(rows.slice(3)) == ["100.0% of 1 replies never stopped thinking and have no answer"]


def test_nothing_is_told_where_nobody_thinks_or_nothing_is_known() -> None:
    assert told(replies({"text": "7", "answer_start": 0}, {"text": "8"}, {"error": "Busy: later"})) == []
    assert told(schema.empty("rollouts")) == []
