"""Serving a recipe on a schedule: against the Prefect server that is configured, or one started here and stopped at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from ratoon.errors import RatoonError, UsageError
from ratoon.machine.children import Children
from ratoon.pipelines.flows.firings import Each
from ratoon.pipelines.flows.runner import prefect_environment
from ratoon.pipelines.recipe.recipe import load

Overlap = Literal["skip", "queue"]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_START_S = 180.0
_NOTE = Path("logs") / "schedule.json"


@dataclass(frozen=True)
class Plan:
    """What is fired, when, and what happens when the one before still runs."""

    recipe: str
    root: Path
    cron: str | None
    every_s: float | None
    rounds: int
    each: Each
    overlap: Overlap
    sets: Sequence[str]

    @property
    def name(self) -> str:
        return self.root.name


def plan(
    recipe: str, root: Path | None, *, cron: str | None, every: str | None, rounds: int, each: Each, overlap: Overlap,
    sets: Sequence[str],
) -> Plan:  # fmt: skip
    """A checked plan: the recipe loads, exactly one of `cron` (five fields) and `every` ("90s", "30m", "6h", "1d") is given.

    Raises UsageError, ConfigError.
    """
    loaded = load(recipe, sets)
    if (cron is None) == (every is None):
        raise UsageError("a schedule needs either --cron or --every", 'for example --cron "0 2 * * *" or --every 6h')
    if cron is not None:
        _check_cron(cron)
    where = str(Path(recipe).resolve()) if Path(recipe).exists() else recipe
    folder = (root or Path("runs") / loaded.run.name).resolve()
    return Plan(where, folder, cron, None if every is None else seconds(every), rounds, each, overlap, tuple(sets))


def seconds(text: str) -> float:
    """The seconds of "90s", "30m", "6h" or "1d". Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"--every {text!r} is no span of time", "a number and s, m, h or d: 90s, 30m, 6h, 1d")
    return float(found[1]) * _UNITS[found[2]]


def _check_cron(text: str) -> None:
    prefect_environment()
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=text)
    except ValueError:
        raise UsageError(f"--cron {text!r} is no cron line", 'minute hour day month weekday: --cron "0 2 * * *"') from None


def serve(plan: Plan, say: Callable[[str], None]) -> None:
    """Fire until interrupted. Raises RatoonError when the configured server does not answer."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # nobody sits before it: what fails to fire must be told
    prefect_environment()
    with _server(plan.root, say) as url:
        os.environ["PREFECT_API_URL"] = url
        _remember(plan, url)
        _serve_on(plan, url, say)


def _serve_on(plan: Plan, url: str, say: Callable[[str], None]) -> None:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import EntrypointType
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from ratoon.pipelines.flows.scheduled_flow import ratoon

    strategy = ConcurrencyLimitStrategy.CANCEL_NEW if plan.overlap == "skip" else ConcurrencyLimitStrategy.ENQUEUE
    when: dict[str, Any] = {"cron": plan.cron} if plan.cron else {"interval": timedelta(seconds=plan.every_s or 0)}
    say(f"{plan.name}: {plan.cron or f'every {plan.every_s:g} s'}, {plan.rounds} rounds each, on {url.removesuffix('/api')}")
    say("stop with Ctrl-C; nothing is lost: the run goes on with the next firing or with `ratoon run`")
    parameters = {"recipe": plan.recipe, "run": str(plan.root), "rounds": plan.rounds, "each": plan.each, "sets": [*plan.sets]}
    with temporary_settings({PREFECT_API_URL: url}), suppress(KeyboardInterrupt):
        ratoon.serve(
            name=plan.name, parameters=parameters, print_starting_message=False, pause_on_shutdown=True, limit=2,
            global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy),
            entrypoint_type=EntrypointType.MODULE_PATH, tags=["ratoon"], **when,
        )  # fmt: skip


@contextmanager
def _server(root: Path, say: Callable[[str], None]) -> Iterator[str]:
    """The configured server's API, or that of one started here, on loopback, its database in the run's folder."""
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        _require_answer(configured)
        yield configured
        return
    home = root / "logs" / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    children = Children(root)
    children.end_orphans()  # the server of a schedule that was killed
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "PREFECT_UI_API_URL": url}
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    children.started(server.pid, "prefect server")
    try:
        say("starting a Prefect server (none is configured in PREFECT_API_URL)")
        _wait(url, server, home / "server.log")
        yield url
    finally:
        _end(server)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < end:
        if answers(url):
            return
        time.sleep(0.3)
    raise RatoonError("the Prefect server did not start", f"its last words are in {log}; or configure one in PREFECT_API_URL")


def answers(url: str) -> bool:
    """Whether a Prefect API answers there."""
    direct = (
        urllib.request.build_opener(urllib.request.ProxyHandler({})) if "127.0.0.1" in url else urllib.request.build_opener()
    )
    try:
        with direct.open(f"{url.rstrip('/')}/health", timeout=5):
            return True
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _require_answer(url: str) -> None:
    if not answers(url):
        raise RatoonError(
            f"Prefect's server does not answer: {url}", "start it (`prefect server start`), or unset PREFECT_API_URL"
        )


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and what it started: all of its own session."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _remember(plan: Plan, url: str) -> None:
    """Where the schedule's server is, for `--pause`, `--resume` and `ratoon status`."""
    path = plan.root / _NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"deployment": f"ratoon/{plan.name}", "url": url, "cron": plan.cron, "every_s": plan.every_s}
    path.write_text(json.dumps(note), encoding="utf-8")


def state(root: Path) -> dict[str, Any] | None:
    """The schedule last served for a run: when it fires, on which server; None where there was none."""
    path = root / _NOTE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def pause(root: Path, paused: bool) -> str:
    """Pause or resume the schedule of a run, wherever it is served; returns its name. Raises UsageError, RatoonError."""
    note = state(root)
    if note is None:
        raise UsageError(f"{root} has no schedule", "ratoon schedule RECIPE --every 6h")
    _require_answer(note["url"])
    prefect_environment()
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: note["url"]}), get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(note["deployment"])
        for schedule in client.read_deployment_schedules(found.id):
            client.update_deployment_schedule(found.id, schedule.id, active=not paused)
    return str(note["deployment"])
