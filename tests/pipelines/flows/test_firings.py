"""What one firing of a schedule does to a run, and the line it leaves, without any schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratoon.errors import ModelError, UsageError
from ratoon.pipelines.flows import schedule
from ratoon.pipelines.flows.firings import finished_rounds, fire, firings, folder_of
from ratoon.store.store import Store

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.usefixtures("trained_here")
def test_each_firing_adds_its_rounds_and_a_line(prefect_here: None, small: list[str], tmp_path: Path) -> None:
    root, sets = tmp_path / "run", [*small[:-1], "train.min_examples=1"]
    first = fire("smoke", root, 1, sets, "continue", NOW)
    assert (first.outcome, first.rounds, finished_rounds(root)) == ("done", 1, 1)
    assert fire("smoke", root, 1, sets, "continue", NOW).rounds == 2
    assert [line["rounds"] for line in firings(root)] == [1, 2]
    assert {line["fired_at"] for line in firings(root)} == {"2026-02-03T04:05:06+00:00"}


def test_a_run_that_is_being_written_is_left_alone_and_the_firing_says_so(
    prefect_here: None, small: list[str], tmp_path: Path
) -> None:
    with Store.writer(tmp_path / "run", {"shard_size": 6}):
        made = fire("smoke", tmp_path / "run", 1, small[:-1], "continue", NOW)
    assert made.outcome == "skipped"
    assert [line["outcome"] for line in firings(tmp_path / "run")] == ["skipped"]


def test_a_budget_that_is_spent_stops_a_firing_without_failing_it(prefect_here: None, small: list[str], tmp_path: Path) -> None:
    made = fire("smoke", tmp_path / "run", 1, [*small[:-1], "budget.max_tokens=10"], "continue", NOW)
    assert (made.outcome, made.rounds) == ("stopped", 0)
    assert "budget" in made.message


def test_what_fails_is_noted_and_raised(prefect_here: None, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        fire("smoke", tmp_path / "run", 1, ["model.kind=path", "model.path=nowhere"], "continue", NOW)
    assert [line["outcome"] for line in firings(tmp_path / "run")] == ["failed"]


def test_a_new_run_is_named_by_when_it_was_due_and_a_continued_one_is_not() -> None:
    assert folder_of(Path("runs/a"), "new", NOW) == Path("runs/a-20260203-040506")
    assert folder_of(Path("runs/a"), "continue", NOW) == Path("runs/a")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("1d", 86400), (" 1.5 H ", 5400)])
def test_spans_are_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert schedule.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "h", "0s", "-1h", "6 hours", "1w"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no span of time"):
        schedule.seconds(text)


@pytest.mark.parametrize(
    ("cron", "every", "message"),
    [
        (None, None, "either --cron or --every"),
        ("0 2 * * *", "6h", "either --cron or --every"),
        ("noon", None, "is no cron line"),
    ],
)
def test_a_schedule_is_one_cron_line_or_one_span(cron: str | None, every: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        schedule.plan("smoke", None, cron=cron, every=every, rounds=1, each="continue", overlap="skip", sets=[])


def test_a_run_without_a_schedule_cannot_be_paused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no schedule"):
        schedule.pause(tmp_path, paused=True)
