"""A run that is told to stop, or whose Prefect server goes away, says how to go on, and the next start asks nothing twice."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ratoon.store.store import Store

pytestmark = pytest.mark.timeout(600)
QUICK = ["suites.heldout.n=12"]
SLOW = [*QUICK, "engine.scripted.delay_s=0.3", "engine.scripted.max_running=8"]  # slow enough to be stopped in the middle
Start = Callable[..., Any]


class Proxy:
    """A server in front of Prefect's that can be taken away."""

    def __init__(self, target: str) -> None:
        self.address = (urlsplit(target).hostname or "", urlsplit(target).port or 0)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/api"
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self.listening.accept()
                other = socket.create_connection(self.address)
            except OSError:
                return
            self.ends += [one, other]
            threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(one, selectors.EVENT_READ, other)
            ready.register(other, selectors.EVENT_READ, one)
            try:
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        key.data.sendall(data)
            except (OSError, ValueError):
                return
            finally:
                one.close()
                other.close()

    def die(self) -> None:
        """From now on nobody answers."""
        self.listening.close()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(prefect_server: str) -> Iterator[Proxy]:
    made = Proxy(prefect_server)
    yield made
    made.listening.close()


def started(root: Path, small: list[str], server: str) -> subprocess.Popen[str]:
    sets = [argument for item in [*small, *SLOW] for argument in ("--set", item)]
    command = [sys.executable, "-m", "ratoon", "run", "smoke", "--run", str(root), "--quiet", *sets]
    # Prefect asks a server that is gone five times more, for a minute each call.
    environment = os.environ | {"PREFECT_API_URL": server, "PREFECT_CLIENT_MAX_RETRIES": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def asked(root: Path) -> list[str]:
    path = root / "logs" / "requests.log"
    return path.read_text().split() if path.exists() else []


def until_asked(root: Path, run: subprocess.Popen[str], n: int) -> None:
    while len(asked(root)) < n:
        assert run.poll() is None, run.communicate()[1][-2000:]
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_what_is_in_flight_finish_and_says_how_to_go_on(
    small: list[str], prefect_server: str, start: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    root = tmp_path / "run"
    run = started(root, small, prefect_server)
    until_asked(root, run, 20)
    run.send_signal(number)
    out, err = run.communicate(timeout=120)
    assert run.returncode == code, err
    assert f"stopped by {number.name}" in err
    assert "the same command goes on from here" in err
    assert "Traceback" not in err + out
    first = asked(root)
    assert 20 <= len(first) < 96
    again = start(root, *QUICK)
    assert again.code == 0, again.err
    rest = asked(root)[len(first) :]
    assert not set(first) & set(rest), "all that was sent had been answered and kept"
    assert Store.open(root).find("evals")


def test_a_prefect_server_that_goes_away_is_told_and_the_next_start_goes_on(
    small: list[str], proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    run = started(root, small, proxy.url)
    until_asked(root, run, 20)
    proxy.die()
    _, err = run.communicate(timeout=300)
    if run.returncode != 0:  # Prefect may get to the end without asking its server again
        assert run.returncode == 1, err
        assert "Prefect's server does not answer" in err
        assert "prefect server start" in err
    again = start(root, *QUICK)
    assert again.code == 0, again.err
    assert len(asked(root)) == len(set(asked(root)))
    assert Store.open(root).verify() == []
