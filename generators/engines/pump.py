"""One thread that feeds a stepping engine for many callers, so that it stays full across shard borders; knows no model.

A `Core` samples; the pump decides what is in flight. Requests and jobs (new weights, scoring) stand in one line: a job waits
until nothing is in flight and holds up what came after it. When a step raises, the core died: it is revived once per
`allow_revival` and what was in flight is sent again; after a second death every caller gets EngineDead.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from ratoon.engine import Completion, Request
from ratoon.errors import EngineDead, StoreError
from ratoon.generators.engines.requestlog import RequestLog

Result = TypeVar("Result")
_AHEAD = 2  # windows of requests that one caller hands over: the engine stays full, and a stop waits for no more than these


class Core(Protocol):
    """What the pump drives, always from its one thread."""

    def window(self) -> int:
        """How many requests may be in flight: running, and enough waiting that no slot is ever empty."""

    def send(self, key: str, request: Request) -> Completion | None:
        """Take one request; a completion at once when it cannot be answered. An exception means that the core died."""

    def step(self) -> list[tuple[str, Completion]]:
        """What finished since the last step. An exception means that the core died."""

    def abort(self, keys: list[str]) -> None:
        """Forget these requests."""

    def revive(self) -> None:
        """Start again, empty, with the same policy."""


@dataclass(slots=True, eq=False)
class _Asked:
    request: Request
    replies: SimpleQueue[Completion | EngineDead | StoreError]
    sent: float = 0.0  # monotonic


@dataclass(slots=True, eq=False)
class _Job:
    run: Callable[[], Any]
    result: Future[Any]


@dataclass(slots=True, eq=False)
class _Gone:
    """The caller no longer wants these."""

    asked: list[_Asked]


class Pump:
    """Started by the first call; `close` ends its thread."""

    def __init__(self, core: Core, log: RequestLog) -> None:
        self._core, self._log = core, log
        self._inbox: SimpleQueue[list[_Asked] | _Job | _Gone | None] = SimpleQueue()
        self._line: deque[_Asked | _Job] = deque()
        self._flying: dict[str, _Asked] = {}
        self._keys = itertools.count()
        self._may_revive = True
        self._dead: EngineDead | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; leaving early takes the rest out of the engine. Raises EngineDead, StoreError."""
        replies: SimpleQueue[Completion | EngineDead | StoreError] = SimpleQueue()
        source, asked = iter(requests), dict[str, _Asked]()

        def hand_over(n: int) -> None:
            some = {request.request_id: _Asked(request, replies) for request in islice(source, n)}
            if some:
                self._put(list(some.values()))
            asked.update(some)

        hand_over(max(_AHEAD * self._core.window(), _AHEAD))
        try:
            while asked:
                reply = replies.get()
                if isinstance(reply, EngineDead | StoreError):
                    raise type(reply)(reply.message, reply.hint)  # one each: callers in several threads
                del asked[reply.request_id]
                hand_over(1)
                yield reply
        finally:
            if asked:
                self._inbox.put(_Gone(list(asked.values())))

    def call(self, run: Callable[[], Result]) -> Result:
        """`run()` on the pump's thread, with nothing in flight; its exception is raised here."""
        job = _Job(run, Future())
        self._put(job)
        return job.result.result()

    def allow_revival(self) -> None:
        """The next death is the first again, whatever happened before. To be called from a job."""
        self._may_revive, self._dead = True, None

    def close(self) -> None:
        """End the thread; callers still waiting get EngineDead. Closing twice is no error."""
        with self._lock:
            self._closed, thread = True, self._thread
        self._inbox.put(None)
        if thread is not None:
            thread.join()

    def _put(self, item: list[_Asked] | _Job) -> None:
        with self._lock:
            if self._closed:
                raise EngineDead("the engine is closed", "keep it open while requests are made")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ratoon-engine-pump", daemon=True)
                self._thread.start()
            self._inbox.put(item)

    def _work(self) -> None:
        closing = False
        while not closing:
            try:
                closing = self._receive()
                self._advance()
            except Exception as error:
                self._died(error)
        self._fail_all(EngineDead("the engine was closed while requests were under way", "close it after the last reply"))

    def _receive(self) -> bool:
        """Take what came in, waiting only when there is nothing to do; true when told to close."""
        idle = not self._flying and not self._line
        while idle or not self._inbox.empty():
            idle = False
            match self._inbox.get():
                case None:
                    return True
                case _Gone(asked):
                    self._forget(asked)
                case _Job() as job:
                    self._line.append(job)
                case list() as asked:
                    self._line.extend(asked)
        return False

    def _advance(self) -> None:
        """Run the job at the head of the line or send what fits, then step once."""
        if self._line and isinstance(job := self._line[0], _Job) and not self._flying:
            self._line.popleft()
            _settle(job)
        if self._dead is not None:
            self._fail_asked(self._dead)
            return
        self._send()
        if self._flying:
            for key, completion in self._core.step():
                if (asked := self._flying.pop(key, None)) is not None:
                    asked.replies.put(replace(completion, seconds=time.monotonic() - asked.sent))

    def _send(self) -> None:
        while self._line and isinstance(asked := self._line[0], _Asked) and len(self._flying) < self._core.window():
            key = str(next(self._keys))
            try:
                self._log.sent(asked.request.request_id)
            except StoreError as error:  # the caller's disk, not the engine's death
                self._line.popleft()
                asked.replies.put(error)
                continue
            asked.sent = time.monotonic()
            refused = self._core.send(key, asked.request)
            self._line.popleft()
            if refused is None:
                self._flying[key] = asked
            else:
                asked.replies.put(refused)

    def _forget(self, gone: list[_Asked]) -> None:
        wanted = set(map(id, gone))
        self._line = deque(item for item in self._line if id(item) not in wanted)
        keys = [key for key, asked in self._flying.items() if id(asked) in wanted]
        for key in keys:
            del self._flying[key]
        if keys:
            self._core.abort(keys)

    def _died(self, error: Exception) -> None:
        """Revive the core and put what was in flight back at the head of the line, or give up."""
        again, self._flying = list(self._flying.values()), {}
        self._line.extendleft(reversed(again))
        reason = f"{type(error).__name__}: {error}"
        if self._may_revive and self._dead is None:
            self._may_revive = False
            try:
                self._core.revive()
                return
            except Exception as second:
                reason = f"{reason}; starting it again failed with {type(second).__name__}: {second}"
        self._dead = EngineDead(f"the engine died twice: {reason}", "look at its log above, or ask it for less at once")
        self._fail_asked(self._dead)

    def _fail_asked(self, error: EngineDead) -> None:
        """Every request in the line fails; jobs stay, since new weights may mend it."""
        jobs: deque[_Asked | _Job] = deque()
        for item in self._line:
            if isinstance(item, _Asked):
                item.replies.put(error)
            else:
                jobs.append(item)
        self._line = jobs

    def _fail_all(self, error: EngineDead) -> None:
        while not self._inbox.empty():
            item = self._inbox.get()
            self._line.extend(item if isinstance(item, list) else [item] if isinstance(item, _Job) else [])
        self._line.extend(self._flying.values())
        self._flying = {}
        self._fail_asked(error)
        for job in self._line:
            if isinstance(job, _Job):
                job.result.set_exception(error)


def _settle(job: _Job) -> None:
    try:
        job.result.set_result(job.run())
    except Exception as error:
        job.result.set_exception(error)
