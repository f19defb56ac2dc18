"""What may still be asked: requests are admitted one by one against the budget, and none after a stop was asked for.

A request is admitted with the most it can cost, so that a limit is never passed; what it did cost is settled when its reply is
there. Whoever is refused finishes what is in flight first, then raises Stopped: what is done is kept.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ratoon.engine import Completion, Engine, Policy, Request
from ratoon.errors import BudgetSpent, EngineError, Interrupted, Stopped
from ratoon.pipelines.recipe.budget import BudgetConfig, Spent

GO_ON = "the same command goes on from here"
_ENDED = b"\nended at once; what is done is kept, the same command goes on from here\n"
_STOPPING = b"\nstopping: what is in flight is finished and kept; once more ends at once\n"


class Meter:
    """The budget of one start, shared by its shard threads."""

    def __init__(self, budget: BudgetConfig, spent: Spent) -> None:
        self.budget, self.spent = budget, spent
        self._reserved = Spent()
        self._flying = 0
        self._changed = threading.Condition()
        self._started = time.monotonic()
        self._signal: int | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked for the end."""
        return self._signal is not None

    def interrupt(self, number: int) -> None:
        """End cleanly: no further request is admitted. Safe in a signal handler: it takes no lock."""
        self._signal = number

    def check_signal(self) -> None:
        """Raise Interrupted where a signal asked for the end."""
        if self._signal is not None:
            raise Interrupted(f"stopped by {signal.Signals(self._signal).name}; what is done is kept", GO_ON, self._signal)

    def check(self) -> None:
        """Raise Interrupted or Stopped where nothing more may be begun, whatever it costs."""
        self.check_signal()
        limit = self.budget.max_time_s
        if limit is not None and time.monotonic() - self._started >= limit:
            raise BudgetSpent(f"budget: the {limit:g} s of this start are over", f"{GO_ON}; for longer starts raise --max-time")

    @property
    def ended(self) -> bool:
        """Whether a signal or the clock ended this start."""
        try:
            self.check()
        except Stopped:
            return True
        return False

    def admit(self, request: Request) -> bool:
        """Whether the request may be sent; it then counts with its most until `settle`."""
        most = _most(request)
        with self._changed:
            try:
                self.check()
                self.fits(most)
            except Stopped:
                return False
            self._reserved += most
            self._flying += 1
            return True

    def settle(self, request: Request, reply: Completion | None) -> None:
        """The reply is there, or none will come."""
        with self._changed:
            self._reserved -= _most(request)
            self._flying -= 1
            if reply is not None and reply.usage is not None:
                self.spent += Spent(reply.usage.prompt, reply.usage.sampled, cached=reply.usage.cached)
            elif reply is not None and reply.error is None:
                self.spent += Spent(_prompt(request), len(reply.token_ids))
            self._changed.notify_all()

    def trained(self, tokens: int) -> None:
        """A policy was trained."""
        with self._changed:
            self.spent += Spent(trained=tokens)

    def wait_for_room(self, request: Request) -> None:
        """Until the request fits, since others took less than their most. Raises Stopped when it never will."""
        with self._changed:
            while True:
                self.check()
                try:
                    return self.fits(_most(request))
                except Stopped:
                    if not self._flying:
                        raise
                self._changed.wait(1.0)

    def fits(self, more: Spent) -> None:
        """Raise Stopped when `more`, on top of what is spent and in flight, would pass a limit."""
        after, budget = self.spent + self._reserved + more, self.budget
        if budget.max_tokens is not None and more.tokens and after.tokens > budget.max_tokens:
            raise BudgetSpent(
                f"budget: {self.spent.tokens:,} of at most {budget.max_tokens:,} tokens are spent, and the next request may "
                f"take {more.tokens:,}", f"raise --max-tokens: {GO_ON}",
            )  # fmt: skip
        cost = after.cost(budget.prices)
        if budget.max_cost is not None and cost is not None and cost > budget.max_cost:
            now = self.spent.cost(budget.prices)
            raise BudgetSpent(
                f"budget: {now:.4g} of at most {budget.max_cost:.4g} is spent, and what comes next may pass it",
                f"raise --max-cost: {GO_ON}",
            )


class MeteredEngine:
    """An engine that is asked only what the meter admits."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        self.engine, self.meter, self.name = engine, meter, engine.name

    def __enter__(self) -> MeteredEngine:
        self.engine.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.__exit__(*exc)

    def use(self, policy: Policy) -> None:
        self.engine.use(policy)

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        return self.engine.logprobs(sequences)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions of what was admitted. Raises Stopped, once they are all there, when some requests never may be."""
        left = deque(requests)
        while left:
            self.meter.wait_for_room(left[0])
            yield from self._admitted(left)

    def _admitted(self, left: deque[Request]) -> Iterator[Completion]:
        flying: dict[str, Request] = {}

        def source() -> Iterator[Request]:
            while left and self.meter.admit(left[0]):
                request = left.popleft()
                flying[request.request_id] = request
                yield request

        try:
            for completion in self.engine.generate(source()):
                self.meter.settle(flying.pop(completion.request_id), completion)
                yield completion
        except EngineError:
            if self.meter.interrupted:  # a signal to the whole process group reaches an engine's processes too
                self.meter.check()
            raise
        finally:
            for request in flying.values():
                self.meter.settle(request, None)


@contextmanager
def signals(meter: Meter, last: Callable[[], None] = lambda: None) -> Iterator[None]:
    """SIGINT and SIGTERM end the run cleanly; a second one ends this process at once, after `last`.

    At once is as by a kill, which loses nothing: an exception would wait for every thread. Only the main thread can listen.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if meter.interrupted:
            os.write(2, _ENDED)
            try:
                last()
            finally:
                os._exit(128 + number)
        meter.interrupt(number)
        os.write(2, _STOPPING)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prompt(request: Request) -> int:
    return len(request.prompt_token_ids) + len(request.prefix_token_ids or ())


def _most(request: Request) -> Spent:
    """The most one request can cost."""
    return Spent(_prompt(request), request.sampling.max_tokens)
