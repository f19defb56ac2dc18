"""vLLM servers of this machine, side by side on ports of their own: started, watched by their health, ended by pid.

They end with this process, however it ends. One that died is started again; none takes code that came with a model.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ratoon.errors import EngineError
from ratoon.generators.engines.child import Reaper, variables
from ratoon.machine import processor
from ratoon.pipelines.serving.target import Served

Command = Callable[[Served, str, int], list[str]]  # of a policy, a host and a port
_PATIENCE_S = 10.0
_CPU = ["--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "128"]


def vllm(extra: Sequence[str] = ()) -> Command:
    """The command of a vLLM server as ratoon asks it: processed log-probs, no default of the model's own folder."""
    on_cpu = not any(Path("/dev").glob("nvidia[0-9]*"))
    cpu = ["--dtype", processor.computed_in("bfloat16", on_cpu=True), *_CPU] if on_cpu else []

    def command(served: Served, host: str, port: int) -> list[str]:
        program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(served.folder)]
        where = ["--host", host, "--port", str(port), "--served-model-name", *served.names]
        how = ["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"]
        return [*program, *where, *how, *cpu, *extra]

    return command


class Server(NamedTuple):
    """One server: its port, its process, when it was started."""

    port: int
    process: subprocess.Popen[bytes]
    started: float  # monotonic


class Replicas:
    """`n` servers from port `first` on, all of one policy at a time. `token` is what they want of who asks.

    One that ended is started again `rest_s` after its start at the soonest.
    """

    def __init__(
        self, command: Command, host: str, first: int, n: int, logs: Path, token: str | None = None, rest_s: float = 10.0
    ) -> None:
        self._rest_s = rest_s
        self._command, self._host, self._logs, self._token = command, host, logs, token
        self._ports = [first + i for i in range(n)]
        self._servers: list[Server] = []
        self._served: Served | None = None
        self._closed = False
        self._reaper = Reaper()

    @property
    def urls(self) -> list[str]:
        """The addresses that `base_urls` takes."""
        return [f"http://{self._host}:{port}/v1" for port in self._ports]

    def load(self, served: Served, patience_s: float = 900.0) -> None:
        """End the servers and start them on this policy. Raises EngineError when one ends or none of them answers in time."""
        self.stop()
        self._served = served
        for port in self._ports:
            self._servers.append(self._start(port, served))
        end = time.monotonic() + patience_s
        for server in list(self._servers):
            while not self._is_up(server.port):
                if self._closed or server.process.poll() is not None or time.monotonic() > end:
                    raise EngineError(f"the server at port {server.port} does not answer", self._last_words(server.port))
                time.sleep(0.2)

    def revive(self) -> list[int]:
        """Start those again that ended; their ports."""
        served, again = self._served, []
        for place, server in enumerate(self._servers):
            if served is not None and server.process.poll() is not None and time.monotonic() - server.started > self._rest_s:
                self._servers[place] = self._start(server.port, served)
                again.append(server.port)
        return again

    def pids(self) -> list[int]:
        return [server.process.pid for server in self._servers]

    def stop(self) -> None:
        """End every server with what it started; first asked, then killed."""
        servers, self._servers, self._served = self._servers, [], None
        for number in (signal.SIGTERM, signal.SIGKILL):
            for server in servers:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(server.process.pid, number)
            for server in servers:
                with suppress(subprocess.TimeoutExpired):
                    server.process.wait(_PATIENCE_S)

    def close(self) -> None:
        """End the servers for good, a load under way too."""
        self._closed = True
        self.stop()
        self._reaper.dismiss()

    def _start(self, port: int, served: Served) -> Server:
        if self._closed:
            raise EngineError("the servers were ended", "start `ratoon serve` again")
        own = {"VLLM_CPU_KVCACHE_SPACE": "2"} | variables(str(served.folder)) | dict(os.environ) | self._reaper.mark
        key = {"VLLM_API_KEY": self._token} if self._token else {}  # in no command line, which anybody can list
        with self._log(port).open("ab") as log:
            process = subprocess.Popen(
                self._command(served, self._host, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own | key,
                start_new_session=True,
            )  # fmt: skip
        return Server(port, process, time.monotonic())

    def _log(self, port: int) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"server-{port}.log"

    def _is_up(self, port: int) -> bool:
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self, port: int) -> str:
        path = self._log(port)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        return " ".join([*lines, f"(see {path})"])
