"""`ratoon serve`: local servers and the agent beside them, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ratoon.errors import MissingExtra, RatoonError, UsageError
from ratoon.pipelines.serving.agent import Agent, Newer, check_exposure
from ratoon.pipelines.serving.replicas import Command, Replicas, vllm
from ratoon.pipelines.serving.target import Served, newer, target

TOKEN_ENV = "RATOON_TOKEN"


def serve(
    what: str,
    *,
    replicas: int = 1,
    host: str = "127.0.0.1",
    port: int = 8000,
    follow: bool = False,
    token_env: str = TOKEN_ENV,
    logs: Path = Path("logs"),
    extra: Sequence[str] = (),
    command: Command | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a run's newest policy, a policy or a model at ports `port + 1` and on, the agent at `port`; returns on a signal.

    With `follow` each new policy of the run is loaded as soon as it is there. `extra` are arguments of `vllm serve`.
    Raises UsageError, ModelError.
    """
    token = os.environ.get(token_env, "").strip() or None
    check_exposure(host, token, token_env)
    root = Path(what)
    if follow and not (root / "run.json").exists():
        raise UsageError(f"--follow looks for new policies of a run, and {what} is none", "name a run's folder")
    served = target(what)
    servers = Replicas(command or vllm(extra), host, port + 1, replicas, logs, token)
    look = partial(newer, root) if follow else None
    try:
        asyncio.run(_serve(Agent(servers, token, say), servers, served, (host, port), look, say))
    finally:
        servers.close()


async def _serve(
    agent: Agent,
    servers: Replicas,
    served: Served,
    where: tuple[str, int],
    look: Newer | None,
    say: Callable[[str], None],
) -> None:
    try:
        from aiohttp import web
    except ImportError:
        raise MissingExtra("aiohttp", "run") from None
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(agent.app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *where).start()
    except OSError as error:
        raise RatoonError(
            f"the agent cannot listen at {where[0]}:{where[1]}: {error.strerror}", "give another --port"
        ) from None
    say(f"agent at http://{where[0]}:{where[1]}")
    agent.want(served)
    work = asyncio.create_task(agent.work(look))
    await asyncio.wait([work, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    await asyncio.to_thread(servers.close)  # a load under way ends with its servers
    await runner.cleanup()
    if not ended.is_set():
        await work  # its error
