"""The servers behind one engine: which of them a request goes to, how much each is given, when one is left alone.

Each server has a limit of replies under way that grows by one a limit's worth of answers and halves when the server says 429 or
503, lets a request time out or is slow: an answer took half of its time-out, at twice the server's best time a token (additive
increase, multiplicative decrease; Chiu and Jain 1989). Transport failures and 5xx open
its breaker: three in a row, and it gets nothing until its list of models answers again; a refused request (4xx) never counts.
Where no server is well, the one that failed longest ago is asked all the same. Samples of one prompt go to one server, whose
prefix cache then serves them. A server that does not list the policy in use gets no request.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ratoon.generators.engines.openai_wire import Refused

FAILURES = 3  # in a row, until a server is left alone
CLOSED_S, LONGEST_S = 0.5, 8.0  # seconds it is left alone: the first time, and at most
SLOW_SHARE, SLOW_TIMES = 0.5, 2.0
_HALVE_S = 1.0  # what was under way when a server said stop says it too: once a second is enough


@dataclass(eq=False)
class Server:
    """One address: the name it has for the policy in use (null: it does not serve it), what it is given, how it does."""

    url: str
    limit: float
    name: str | None = None
    under_way: int = 0
    reached: int = 0
    failures: int = 0
    times_closed: int = 0
    closed_until: float | None = None  # monotonic; null: its breaker is shut and requests flow
    halved: float = 0.0
    answers: int = 0
    pace: float = math.inf  # the best seconds a token so far

    def is_slow(self, seconds: float, tokens: int | None, time_out: float) -> bool:
        """Whether an answer of so many tokens took so long that a longer one would be lost, and not for its length alone."""
        if tokens is None:
            return False
        pace, best = seconds / tokens, self.pace
        self.pace = min(best, pace)
        return seconds > SLOW_SHARE * time_out and pace > SLOW_TIMES * best

    def state(self, now: float) -> str:
        """Whether it is asked, in words."""
        if self.closed_until is not None:
            return f"left alone for {max(0.0, self.closed_until - now):.0f} s after {self.failures} failures"
        return "does not serve the policy" if self.name is None else f"asked as {self.name}"

    def room_for(self, n: int) -> bool:
        """Whether `n` more may be under way; one group always may, however large."""
        return not self.under_way or self.under_way + n <= self.limit


class Fleet:
    """Hands out servers, first come first served; for one event loop."""

    def __init__(self, urls: Sequence[str], most: int) -> None:
        self._most = most
        self.servers = [Server(url, float(most)) for url in urls]
        self._line: deque[tuple[int, asyncio.Future[Server]]] = deque()

    def replace(self, urls: Sequence[str]) -> None:
        """Keep the servers of these addresses, add the new ones, forget the others once they are idle."""
        known = {server.url: server for server in self.servers}
        self.servers = [known.get(url) or Server(url, float(self._most)) for url in urls]
        self.serve()

    async def take(self, n: int) -> Server:
        """A server with room for `n` more, to be given back; waits for one in the order of the calls."""
        place: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._line.append((n, place))
        self.serve()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give(place.result(), n, None)
            else:
                self._line = deque(item for item in self._line if item[1] is not place)
                self.serve()
            raise

    def give(self, server: Server, n: int, error: Refused | None, slow: bool = False) -> None:
        """What was taken, with how it went: null for an answer, which may have been `slow`."""
        server.under_way -= n
        now = time.monotonic()
        if error is None:
            server.failures, server.times_closed, server.closed_until = 0, 0, None
            server.answers += n
        if slow or (error is not None and error.busy):
            if now - server.halved >= _HALVE_S:
                server.limit, server.halved = max(1.0, server.limit / 2), now
        elif error is None:
            server.limit = min(float(self._most), server.limit + n / server.limit)
        if error is not None and error.broken:
            server.failures += 1
            if server.failures >= FAILURES and server.closed_until is None:
                self.close(server)
        self.serve()

    def close(self, server: Server) -> None:
        """Leave a server alone for a while that doubles each time."""
        server.closed_until = time.monotonic() + min(LONGEST_S, CLOSED_S * 2**server.times_closed)
        server.times_closed += 1

    def reopen(self, server: Server, name: str | None) -> None:
        """A server answers again, and serves the policy as `name`."""
        server.name, server.failures, server.closed_until = name, 0, None
        self.serve()

    def rows(self) -> list[dict[str, Any]]:
        """How each server does: replies allowed, under way and at most at once, answers, and whether it is asked at all."""
        now = time.monotonic()
        return [
            {"server": s.url, "allowed": int(s.limit), "under way": s.under_way, "most at once": s.reached,
             "answers": s.answers, "state": s.state(now)} for s in self.servers
        ]  # fmt: skip

    def due(self) -> list[Server]:
        """Servers to be asked how they are: left alone long enough, or without the policy so far."""
        now = time.monotonic()
        return [s for s in self.servers if (s.name is None if s.closed_until is None else now >= s.closed_until)]

    def serve(self) -> None:
        """Give places to those in the line, as far as there is room."""
        while self._line:
            n, place = self._line[0]
            if place.done():
                self._line.popleft()
                continue
            server = self._choose(n)
            if server is None:
                return
            self._line.popleft()
            server.under_way += n
            server.reached = max(server.reached, server.under_way)
            place.set_result(server)

    def _choose(self, n: int) -> Server | None:
        """The well server with the most room left; where none is well, the one that failed longest ago."""
        serving = [server for server in self.servers if server.name is not None]
        well = [server for server in serving if server.closed_until is None]
        if not well and serving:
            well = [min(serving, key=lambda server: server.closed_until or 0.0)]
        free = [server for server in well if server.room_for(n)]
        return max(free, key=lambda server: server.limit - server.under_way, default=None)
