"""Bars where there is a terminal, a line now and then elsewhere, and never a failure."""

from __future__ import annotations

import io
import threading

import pytest

from ratoon import progress
from ratoon.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("gone")


def test_without_a_terminal_there_is_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    out = io.StringIO()
    with Progress(stream=out) as bars, bars.task("round 1 · rollouts", 4, "rollout") as bar:
        bar.advance(3, tokens=90, kept=1)
    lines = out.getvalue().splitlines()
    assert "0/4 rollouts" in lines[0]
    assert "3/4 rollouts" in lines[1]
    assert "tok/s" in lines[1]
    assert "yield 33%" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_lines_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    with Progress(stream=out) as bars, bars.task("x", 1000) as bar:
        for _ in range(1000):
            bar.advance()
    assert len(out.getvalue().splitlines()) == 1, "only the last one: all took less than the interval"


def test_a_line_fits_80_columns() -> None:
    bar = Progress(quiet=True).task("a label that is much longer than anybody would want it", 10**9, "rollout")
    bar.advance(10**8, tokens=10**12, kept=5)
    assert len(progress.line(bar)) <= 80


def test_a_terminal_gets_bars_that_fit_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Progress(stream=out) as bars, bars.task("round 1 · rollouts", 160_000, "rollout") as bar:
        bar.advance(80_000, tokens=5_000_000, kept=20_000)
        bars.say("[not markup]")
    shown = out.getvalue()
    assert "80000/160000" in shown
    assert "yield 25%" in shown
    assert "[not markup]" in shown


def test_what_is_said_once_is_said_once_however_often_it_happens() -> None:
    out = io.StringIO()
    with Progress(stream=out) as bars:
        for text in ("a", "b", "a", "a"):
            bars.say_once(text)
    assert out.getvalue() == "a\nb\n"


def test_quiet_is_silent() -> None:
    out = io.StringIO()
    with Progress(quiet=True, stream=out) as bars, bars.task("x", 2) as bar:
        bar.advance()
        bars.say("hello")
    assert out.getvalue() == ""


def test_a_broken_screen_stops_nothing() -> None:
    with Progress(stream=Broken()) as bars, bars.task("x", 2) as bar:
        bar.advance()
        bar.update(2, 2, 10.0)
        bars.say("hello")
    assert bar.done == 2


def test_threads_count_together() -> None:
    bar = Progress(quiet=True).task("x", 4000)
    threads = [threading.Thread(target=lambda: [bar.advance(1, 2, 1) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (bar.done, bar.tokens, bar.kept) == (4000, 8000, 4000)


def test_nobody_knows_the_time_left_without_a_total() -> None:
    bar = Progress(quiet=True).task("train")
    bar.advance(3)
    assert bar.eta() == "-:--"
    bar.update(1, 2, tokens_per_second=1234.0)
    assert (bar.done, bar.total) == (1, 2)
    assert bar.rate() == "1,234 tok/s"


def test_the_time_left_counts_from_the_first_result_and_is_told_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = Progress(quiet=True).task("round 1 · rollouts", 100)
    now[0] = 600.0  # a model was loaded
    bar.advance()
    assert bar.eta() == "-:--"
    now[0] = 601.0
    bar.advance()
    assert bar.eta() == "-:--", "one second tells nothing"
    now[0] = 610.0
    bar.advance(9)
    assert bar.eta() == "1:29"


def test_a_bar_without_a_total_shows_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Progress(stream=out) as bars, bars.task("train", None, "step") as bar:
        bar.advance(3)
    assert "None" not in out.getvalue()
