"""An engine that lives in child processes: their environment, and what happens when one side dies; knows no engine.

A parent that is killed must not leave a model behind on the device, and a child that is killed must not be waited for.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any

_FEW_CORES = 4
_MARK = "RATOON_ENGINE"
# The shell's input ends with the parent, however it ends; only then are the children looked for and killed.
_REAP = f"""read -r _
kill -9 $(grep -lzs "^{_MARK}=$1$" /proc/[0-9]*/environ | cut -d/ -f3) 2>/dev/null"""


def few_cores() -> bool:
    """Whether an engine must share the cores it has with its parent, and not bind its threads to some of them."""
    return _cores() <= _FEW_CORES


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def variables(folder: str) -> dict[str, str]:
    """What a vLLM process needs, where the user says nothing else: quiet, and offline when the model is a folder.

    Binding threads gives away the core that vLLM reserves for its scheduler, so few cores are left unbound. There threads that
    wait for one another sleep: where they spin, any other program at work slows sampling more than by its share.
    """
    few = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(_cores()), "OMP_WAIT_POLICY": "passive"}
    offline = {"HF_HUB_OFFLINE": "1"} if Path(folder).is_dir() else {}
    quiet = {"TOKENIZERS_PARALLELISM": "false", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    return (few if few_cores() else {}) | offline | quiet | {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """`values` where the user set none; afterwards the environment is what it was, whatever was added inside."""
    before = dict(os.environ)
    for name, value in values.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def when_one_ends(processes: Sequence[Any], then: Callable[[], None]) -> None:
    """Call `then` from a thread as soon as one of the multiprocessing `processes` has ended."""

    def watch() -> None:
        connection.wait([process.sentinel for process in processes])
        then()

    threading.Thread(target=watch, name="ratoon-engine-guard", daemon=True).start()


class Reaper:
    """Kills every process started under `mark` once this one is gone, even by SIGKILL; `dismiss` it when they have stopped.

    To be made before they are started, since a start takes long enough to be killed in. Works where /proc shows environments.
    """

    def __init__(self) -> None:
        self._name = f"{os.getpid()}-{time.time_ns()}"
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _REAP, "reaper", self._name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @property
    def mark(self) -> dict[str, str]:
        """The environment variable that names this reaper."""
        return {_MARK: self._name}

    def dismiss(self) -> None:
        """Nothing is killed any more."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
