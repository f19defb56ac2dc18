"""The agent beside local servers: over HTTP it is told which policy comes next, checks it and has the servers load it.

    GET  /ratoon           {"policy_id", "state": "loading" | "ready" | "failed", "reason", "servers"}
    POST /ratoon/policy    {"policy_id", "path", "weights_digest"} → 202, or 409 with the reason where the folder holds another

A bearer token, where there is one, is wanted for both. It listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ratoon.errors import RatoonError, UsageError
from ratoon.pipelines.serving.replicas import Replicas
from ratoon.pipelines.serving.target import Served, asked_for

if TYPE_CHECKING:
    from aiohttp import web

Newer = Callable[[str | None], Served | None]  # another policy than the one of this id, where there is one
_WATCH_S = 2.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_exposure(host: str, token: str | None, token_env: str) -> None:
    """Raise UsageError where servers would be open to other machines without a token."""
    if host not in LOOPBACK and not token:
        raise UsageError(
            f"--host {host} lets other machines ask, and {token_env} holds no token",
            f"export {token_env}=…, and name it in the recipe: engine.openai.api_key_env",
        )


class Agent:
    """What it serves, and how far it is; one load at a time, the newest wish wins."""

    def __init__(self, replicas: Replicas, token: str | None, say: Callable[[str], None]) -> None:
        self._replicas, self._token, self._say = replicas, token, say
        self._wanted: Served | None = None
        self._state, self._reason = "loading", ""
        self._changed = asyncio.Event()

    def want(self, served: Served) -> None:
        """Serve this from now on."""
        if served != self._wanted:
            self._wanted, self._state, self._reason = served, "loading", ""
            self._changed.set()

    async def work(self, newer: Newer | None = None) -> None:
        """Load what is wanted, whenever that changes; start ended servers again; with `newer` look for a new policy too."""
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), _WATCH_S)
            except TimeoutError:
                await self._look_around(newer)
                continue
            self._changed.clear()
            await self._load()

    async def _look_around(self, newer: Newer | None) -> None:
        if self._state == "ready":
            for port in await asyncio.to_thread(self._replicas.revive):
                self._say(f"the server at port {port} ended and was started again")
        if newer is not None:
            try:
                if (found := await asyncio.to_thread(newer, self._wanted and self._wanted.policy_id)) is not None:
                    self.want(found)
            except RatoonError as error:  # a policy that is being written, say; what is served stays
                self._say(f"{error.message}; looked at again in {_WATCH_S:g} s")

    async def _load(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        self._say(f"loading {wanted.policy_id} from {wanted.folder}")
        try:
            await asyncio.to_thread(self._replicas.load, wanted)
        except RatoonError as error:
            self._state, self._reason = "failed", f"{error.message} {error.hint or ''}".strip()
            self._say(f"{wanted.policy_id} is not served: {self._reason}")
            return
        if wanted == self._wanted:
            self._state = "ready"
            self._say(f"{wanted.policy_id} is served at {', '.join(self._replicas.urls)}")

    def app(self) -> web.Application:
        """Its HTTP side."""
        from aiohttp import web

        app = web.Application(client_max_size=1 << 16)
        app.add_routes([web.get("/ratoon", self._tell), web.post("/ratoon/policy", self._take)])
        return app

    async def _tell(self, request: web.Request) -> web.Response:
        return self._answer(200) if self._may(request) else self._refuse(401, "a bearer token is wanted")

    async def _take(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return self._refuse(401, "a bearer token is wanted")
        try:
            told: Any = await request.json()
            wish = [told[name] for name in ("policy_id", "path", "weights_digest")]
        except (ValueError, KeyError, TypeError):
            return self._refuse(400, "policy_id, path and weights_digest are wanted as JSON")
        if not all(isinstance(value, str) and value for value in wish):
            return self._refuse(400, "policy_id, path and weights_digest must be texts")
        if self._wanted is not None and self._wanted.policy_id == wish[0] and self._state != "failed":
            return self._answer(200 if self._state == "ready" else 202)
        try:
            self.want(await asyncio.to_thread(asked_for, *wish))
        except (RatoonError, OSError) as error:
            return self._refuse(409, str(error))
        return self._answer(202)

    def _may(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        return self._token is None or hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())

    def _answer(self, status: int) -> web.Response:
        from aiohttp import web

        wanted = self._wanted and self._wanted.policy_id
        told = {"policy_id": wanted, "state": self._state, "reason": self._reason, "servers": self._replicas.urls}
        return web.json_response(told, status=status)

    def _refuse(self, status: int, why: str) -> web.Response:
        from aiohttp import web

        return web.json_response({"error": {"message": why}}, status=status)
