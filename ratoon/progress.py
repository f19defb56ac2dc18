"""What a run says while it works: live bars on a terminal, a plain line now and then elsewhere; knows no stage.

Nothing here may stop the work: whatever goes wrong with the screen is ignored.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Self, TextIO

from ratoon.terminal import plain

EVERY_S = 5.0
Args = ParamSpec("Args")


def _harmless(act: Callable[Args, None]) -> Callable[Args, None]:
    """`act`, whose failure is nobody's business: a closed terminal must not end a run."""

    @wraps(act)
    def safe(*args: Args.args, **kwargs: Args.kwargs) -> None:
        try:
            act(*args, **kwargs)
        except Exception:
            return

    return safe


class Task:
    """One bar: how much of a total is done, tokens made, and how many of the done ones were kept."""

    def __init__(self, owner: Progress, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.tokens, self.kept = 0, 0, None  # type: tuple[int, int, int | None]
        self.started, self.finished = time.monotonic(), False
        self._first: tuple[float, int] | None = None  # when the first of it was done, and how much that was
        self._owner, self._said = owner, 0.0
        self._speed: float | None = None
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @_harmless
    def advance(self, n: int = 1, tokens: int = 0, kept: int | None = None) -> None:
        """`n` more are done; `tokens` and `kept` are what these brought."""
        with self._mutex:
            self.done += n
            self.tokens += tokens
            if kept is not None:
                self.kept = (self.kept or 0) + kept
            self._begun()
        self._owner._show(self)

    @_harmless
    def update(self, done: int, total: int | None = None, tokens_per_second: float | None = None) -> None:
        """Where the work stands by its own account: for what counts for itself, as training does."""
        with self._mutex:
            self.done, self.total = done, total if total is not None else self.total
            self._speed = tokens_per_second
            self._begun()
        self._owner._show(self)

    @_harmless
    def close(self) -> None:
        """No more will come; what is shown stays."""
        with self._mutex:
            ended, self.finished = self.finished, True
        if not ended:
            self._owner._show(self, last=True)

    def rate(self) -> str:
        """What the bar says after its count: tokens a second and the share kept; empty where there is neither."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        speed = self._speed if self._speed is not None else self.tokens / seconds
        pieces = [f"{speed:,.0f} tok/s"] if speed else []
        if self.kept is not None and self.done:
            pieces.append(f"yield {self.kept / self.done:.0%}")
        return " · ".join(pieces)

    def eta(self) -> str:
        """Time left by the mean speed so far, `m:ss`; `-:--` while nobody can know."""
        if self.finished:
            return _clock(time.monotonic() - self.started)
        if self._first is None or not self.total:
            return "-:--"
        # What comes before the first result (a model is loaded) says nothing about the rest, nor do the next few seconds.
        seconds, done = time.monotonic() - self._first[0], self.done - self._first[1]
        if seconds < EVERY_S or done <= 0:
            return "-:--"
        return _clock(seconds * (self.total - self.done) / done)

    def _begun(self) -> None:
        if self._first is None and self.done:
            self._first = time.monotonic(), self.done

    def _due(self, last: bool) -> bool:
        with self._mutex:
            now = time.monotonic()
            if not last and now - max(self._said, self.started) < EVERY_S:
                return False
            self._said = now
            return True


class Progress:
    """A context manager that shows tasks on stderr; `quiet` shows nothing. Safe for many threads."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet, self._bars = quiet, None  # type: tuple[bool, Any]
        self._ids: dict[int, Any] = {}
        self._told: set[str] = set()
        self._mutex = threading.RLock()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def task(self, label: str, total: int | None = None, unit: str = "row") -> Task:
        """A new bar; `total` None where nobody knows it."""
        task = Task(self, label, total, unit)
        self._show(task)
        return task

    @_harmless
    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        if self._quiet:
            return
        text = plain(text)
        with self._mutex:
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)

    def say_once(self, text: str) -> None:
        """A line of its own the first time; nothing when it was said before."""
        with self._mutex:
            new = text not in self._told
            self._told.add(text)
        if new:
            self.say(text)

    @_harmless
    def _start(self) -> None:
        if not self._quiet and self._stream.isatty():
            self._bars = _bars(self._stream)
            self._bars.start()

    @_harmless
    def _stop(self) -> None:
        with self._mutex:
            bars, self._bars = self._bars, None
            self._ids.clear()
        if bars is not None:
            bars.stop()

    @_harmless
    def _show(self, task: Task, last: bool = False) -> None:
        if self._quiet:
            return
        if self._bars is not None:
            self._draw(task)
        elif task._due(last):
            print(line(task), file=self._stream, flush=True)

    def _draw(self, task: Task) -> None:
        with self._mutex:
            if self._bars is None:
                return
            if id(task) not in self._ids:
                self._ids[id(task)] = (
                    task,
                    self._bars.add_task(_fit(task.label, 24), total=task.total, of="", rate="", eta="-:--"),
                )
            bar = self._ids[id(task)][1]
            of = f"/{task.total}" if task.total else ""
            self._bars.update(bar, completed=task.done, total=task.total or None, of=of, rate=task.rate(), eta=task.eta())


def line(task: Task) -> str:
    """A task in one line of at most 80 characters."""
    of = f"/{task.total}" if task.total else ""
    when = f"in {task.eta()}" if task.finished else f"left {task.eta()}"
    rest = " · ".join(piece for piece in (f"{task.done}{of} {task.unit}s", task.rate(), when) if piece)
    return _fit(f"{_fit(task.label, 28)}  {rest}", 80)


def _bars(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:.0f}{task.fields[of]}", markup=False),
        TextColumn("{task.fields[eta]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        console=Console(file=stream),
        refresh_per_second=4,
    )


def _fit(text: str, width: int) -> str:
    text = plain(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
