"""Places for what is under way, several taken at once, first come first served; for one event loop."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """`total` places. Whoever waits for many is not passed by those who come later and want few."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, n: int) -> int:
        """Wait for `n` places, all of them where there are fewer; how many were taken, to be given back."""
        n = min(n, self._total)
        if self._line or self._free < n:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((n, place))
            try:
                await place
            except asyncio.CancelledError:
                self._leave(n, place)
                raise
        else:
            self._free -= n
        return n

    def give(self, n: int) -> None:
        """Give `n` places back."""
        self._free += n
        self._serve()

    def _leave(self, n: int, place: asyncio.Future[None]) -> None:
        """Whoever is cancelled in the line leaves it; who was served in that moment gives the places back."""
        if place.done() and not place.cancelled():
            self.give(n)
        else:
            self._line = deque(item for item in self._line if item[1] is not place)
            self._serve()

    def _serve(self) -> None:
        while self._line and (self._line[0][1].done() or self._free >= self._line[0][0]):
            n, place = self._line.popleft()
            if not place.done():
                self._free -= n
                place.set_result(None)
