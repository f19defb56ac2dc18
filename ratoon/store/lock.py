"""One writer per run: who holds a run folder, and whether the holder still lives; knows nothing of what a run is.

The holder is named by pid, process start time, boot and pid namespace, so a recycled pid is not mistaken for it and no
kernel lock is inherited by its children. On this host a dead holder is replaced at once; a holder elsewhere is judged by
the age of its heartbeat, which is the lock file's modification time as the file server sees it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ratoon.errors import RunLocked
from ratoon.store.files import LocalFiles, write_error

HEARTBEAT_S = 15.0
STALE_S = 120.0
NAME = "lock"


@dataclass(frozen=True)
class Owner:
    """A process: `start` tells apart two that had the same pid, `boot` and `namespace` say whose pids they are."""

    pid: int
    start: str
    boot: str
    namespace: str
    host: str

    def here(self) -> bool:
        """Whether this process can see that one's pid."""
        me = current()
        return (self.boot, self.namespace, self.host) == (me.boot, me.namespace, me.host)

    def alive(self) -> bool:
        """Whether a process of this host still runs; a zombie does not."""
        return _start_time(self.pid) == self.start


def current() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(pid, _start_time(pid) or "", _boot_id(), _namespace(), socket.gethostname())


class Lock:
    """The lock of one run folder. Raises RunLocked when another writer holds it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.path = self.root / NAME
        self.owner = current()
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Lock:
        with _guard(self.root):
            holder = read_owner(self.path)
            if holder is not None:
                self._refuse_if_held(holder)
            LocalFiles(self.root).replace(NAME, json.dumps(asdict(self.owner)).encode())
        self._beat = threading.Thread(target=self._keep_beating, name="ratoon-lock", daemon=True)
        self._beat.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if os.getpid() == self.owner.pid and self.held():
            self.path.unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lock is still ours: a suspended process may have been replaced by another host's."""
        return read_owner(self.path) == self.owner

    def _refuse_if_held(self, holder: Owner) -> None:
        if holder.here():
            if holder.alive():
                hint = f"wait for it, or stop it with `kill {holder.pid}`, then start again; reading commands work meanwhile"
                raise RunLocked(f"{self.root} is being written by process {holder.pid} on {holder.host}", hint)
            return
        age = self._age()
        if age < STALE_S:
            hint = f"wait for it or stop it there; without a sign of life for {STALE_S:.0f} s the run is free again"
            message = f"{self.root} is being written by process {holder.pid} on another host or container, {holder.host}"
            raise RunLocked(f"{message} (last sign of life {age:.0f} s ago)", hint)

    def _age(self) -> float:
        """Seconds since the last heartbeat, by the clock of the file system that keeps both files."""
        guard = self.root / _GUARD
        os.utime(guard)
        with contextlib.suppress(FileNotFoundError):
            return max(0.0, guard.stat().st_mtime - self.path.stat().st_mtime)
        return STALE_S

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if os.getpid() != self.owner.pid or not self.held():
                return
            with contextlib.suppress(OSError):
                os.utime(self.path)


def read_owner(path: Path) -> Owner | None:
    """Who holds the lock; None when nobody does, or when the file is no lock of ours (it is then replaced)."""
    try:
        return owner_from(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def owner_from(fields: Mapping[str, Any]) -> Owner:
    """A process as JSON has it. Raises ValueError, KeyError or TypeError when it is none."""
    return Owner(int(fields["pid"]), *(str(fields[k]) for k in ("start", "boot", "namespace", "host")))


def owner_of(pid: int) -> Owner | None:
    """A process of this host; None when it is gone."""
    start = _start_time(pid)
    return None if start is None else Owner(pid, start, _boot_id(), _namespace(), socket.gethostname())


_GUARD = ".lock.guard"


@contextlib.contextmanager
def _guard(root: Path) -> Iterator[None]:
    """Only one process at a time judges the lock: without this, two could both replace one dead owner."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        fd = os.open(root / _GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise write_error(root / NAME, error) from error
    try:
        with contextlib.suppress(OSError):  # a file system without flock: the check after it still stands
            _flock_for(fd, seconds=10.0)
        yield
    finally:
        os.close(fd)


def _flock_for(fd: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise RunLocked("another process has been opening this run for 10 s", "start again") from None
            time.sleep(0.01)


def _start_time(pid: int) -> str | None:
    """When the process started, in the system's own words; None when there is none or only a zombie."""
    if not os.path.isdir("/proc/self"):
        return _ps_start_time(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _ps_start_time(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = done.stdout.strip().partition(" ")
    return start.strip() if done.returncode == 0 and not state.startswith("Z") else None


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
