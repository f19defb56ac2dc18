"""Killable worker processes for verifiers: a queue of batches and one clock per item; knows no verifier's rules and no table.

Each worker writes the item it is at and when that item started into shared memory. An item that runs past `timeout_s` has
its worker killed and becomes an `error`; an item whose worker dies likewise; all other items are judged as if nothing had
happened.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Any, NamedTuple

from ratoon.errors import RatoonError, UsageError
from ratoon.metrics.verifiers import VERIFIERS, resolve, version
from ratoon.metrics.verifiers.verdict import Verdict, encodable, errored

_BATCH = 1000
_LOAD_S = 300.0
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]); "
    "from ratoon.metrics.verifiers.worker import mother; mother(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Item(NamedTuple):
    """One reply to judge."""

    verifier: str
    text: str
    answer: str | None
    args: Mapping[str, Any]


@dataclass
class _Worker:
    slot: int
    pid: int
    channel: Connection
    batch: list[int] = field(default_factory=list)
    done: int = 0


@dataclass
class _Job:
    """One call of `run`: what is asked, what is known, what waits."""

    items: Sequence[Item]
    verdicts: list[Verdict | None]
    queue: deque[list[int]]
    missing: int
    innocent_deaths: dict[int, int] = field(default_factory=dict)

    def settle(self, index: int, verdict: Verdict) -> None:
        if self.verdicts[index] is None:
            self.missing -= 1
        self.verdicts[index] = verdict


class VerifierPool:
    """A context manager; `run` may be called from many threads, one at a time is served."""

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        extra: Mapping[str, Callable[..., Any]] | None = None,
        memory_mb: int = 4096,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        """`on_start` is told the pid of the process that starts the workers."""
        if workers < 1 or timeout_s <= 0 or memory_mb < 256:
            raise UsageError(
                f"a verifier pool of {workers} workers, {timeout_s} s and {memory_mb} MB is impossible",
                "workers ≥ 1, timeout_s > 0, memory_mb ≥ 256",
            )
        self.workers, self.timeout_s, self.memory_mb = workers, timeout_s, memory_mb
        self.extra, self._on_start = dict(extra or {}), on_start
        self._pickled = {name: _by_reference(name, function) for name, function in self.extra.items()}
        self._lock = threading.Lock()
        self._alive: list[_Worker] = []
        self._loaded: set[str] = set()
        self._control: Connection | None = None
        self._stop: Callable[[], object] | None = None

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker; the next `run` starts new ones."""
        if self._stop is not None:
            self._stop()
        for worker in self._alive:
            worker.channel.close()
        self._alive, self._loaded, self._control, self._stop = [], set(), None, None

    def version(self, name: str) -> str:
        """The version of the verifier that `name` means in this pool."""
        return version(name, self.extra)

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [worker.pid for worker in self._alive]

    def run(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict per item, in order. Raises UsageError for an unknown verifier, MissingExtra for a missing package.

        When the process that starts the workers dies, it is started again, once, and everything is judged anew.
        """
        with self._lock:
            try:
                return self._loaded_and_run(items)
            except _MotherDied:
                self.close()
                return self._loaded_and_run(items)

    def _loaded_and_run(self, items: Sequence[Item]) -> list[Verdict]:
        try:
            self._load(dict.fromkeys(item[0] for item in items))
            return self._run(items)
        except BaseException:
            self.close()  # workers may be inside a batch nobody waits for
            raise

    def _run(self, items: Sequence[Item]) -> list[Verdict]:
        size = max(1, min(_BATCH, len(items) // (8 * self.workers)))
        batches = deque(list(range(i, min(i + size, len(items)))) for i in range(0, len(items), size))
        job = _Job(items, [None] * len(items), batches, len(items))
        while job.missing:
            for worker in [w for w in self._alive if not w.batch]:
                if job.queue:
                    self._give(worker, job)
            busy = {worker.channel: worker for worker in self._alive if worker.batch}
            if not busy:
                continue  # every worker that was given work is gone again
            for channel in wait(list(busy), timeout=self._patience(busy.values())):
                self._collect(busy[channel], job)  # type: ignore[index]
            self._expire(job)
        return job.verdicts  # type: ignore[return-value]

    def _give(self, worker: _Worker, job: _Job) -> None:
        worker.batch, worker.done = job.queue.popleft(), 0
        # Plain tuples, and one dict for equal arguments: pickle then writes each shared object once.
        payload = pickle.dumps([tuple(job.items[i]) for i in worker.batch], pickle.HIGHEST_PROTOCOL)
        try:
            worker.channel.send_bytes(payload)
        except OSError:
            self._lost(worker, job)

    def _collect(self, worker: _Worker, job: _Job) -> None:
        try:
            while worker.batch and worker.channel.poll():
                self._take(worker, job)
        except (EOFError, OSError):
            self._lost(worker, job)

    def _take(self, worker: _Worker, job: _Job) -> None:
        for verdict in pickle.loads(worker.channel.recv_bytes()):
            job.settle(worker.batch[worker.done], encodable(Verdict._make(verdict)))
            worker.done += 1
        if worker.done == len(worker.batch):
            worker.batch = []

    def _patience(self, busy: Iterable[_Worker]) -> float:
        """Seconds until the first item at work can be over its time."""
        now = time.monotonic()
        ends = [self._board[2 * w.slot + 1] + self.timeout_s - now for w in busy if self._board[2 * w.slot] >= 0]
        return max(0.002, min(ends, default=self.timeout_s))

    def _expire(self, job: _Job) -> None:
        for worker in list(self._alive):
            if not worker.batch or not self._overdue(worker, time.monotonic()):
                continue
            self._ask("kill", worker.pid)
            killed = time.monotonic()
            try:
                while worker.batch:
                    self._take(worker, job)  # what it had sent before
            except (EOFError, OSError):
                pass
            # The board stands still now; the worker may have gone on to another item just before the kill.
            verdict = errored(f"timeout after {self.timeout_s:g} s") if self._overdue(worker, killed) else None
            self._replace(worker, job, verdict)

    def _overdue(self, worker: _Worker, now: float) -> bool:
        return self._board[2 * worker.slot] >= 0 and now - self._board[2 * worker.slot + 1] > self.timeout_s

    def _lost(self, worker: _Worker, job: _Job) -> None:
        """The worker died by itself: the item it was at is to blame."""
        self._ask("kill", worker.pid)  # reaps it, and ends what it left behind
        self._replace(worker, job, errored("worker died"))

    def _replace(self, worker: _Worker, job: _Job, verdict: Verdict | None) -> None:
        """Blame the item at work, put the rest of the batch back in as many pieces as there are workers, fork a new worker."""
        at = int(self._board[2 * worker.slot])
        rest = worker.batch[worker.done :]
        if rest and verdict is not None:
            culprit = worker.batch[at] if at >= worker.done else self._suspect(rest[0], job)
            if culprit is not None:
                job.settle(culprit, verdict)
                rest.remove(culprit)
        if rest:
            size = -(-len(rest) // self.workers)
            job.queue.extendleft(rest[i : i + size] for i in range(0, len(rest), size))
        worker.channel.close()
        self._alive[self._alive.index(worker)] = self._fork(worker.slot)

    @staticmethod
    def _suspect(index: int, job: _Job) -> int | None:
        """A worker that dies between items is no item's fault, until it happens at the same place three times."""
        job.innocent_deaths[index] = job.innocent_deaths.get(index, 0) + 1
        return index if job.innocent_deaths[index] >= 3 else None

    def _load(self, names: Iterable[str]) -> None:
        """Start what is not running; load each new verifier before any worker is forked."""
        new = [name for name in names if name not in self._loaded]
        for name in new:
            resolve(name, self.extra)
        if self._control is None:
            self._start()
        for name in new:
            self._ask("load", name)
            self._loaded.add(name)
        while len(self._alive) < self.workers:
            self._alive.append(self._fork(len(self._alive)))

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as shared:
            shared.truncate(16 * self.workers)
            self._board = memoryview(mmap.mmap(shared.fileno(), 16 * self.workers)).cast("d")
            arguments = [theirs.fileno(), shared.fileno(), self.memory_mb, json.dumps(sys.path)]
            mother = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *map(str, arguments)],
                pass_fds=(theirs.fileno(), shared.fileno()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                start_new_session=True, env=os.environ | _ONE_THREAD,
            )  # fmt: skip
        theirs.close()
        self._control = Connection(ours.detach())
        self._stop = weakref.finalize(self, _end, self._control, mother)
        if self._on_start is not None:
            self._on_start(mother.pid)
        self._control.send(self._pickled)
        self._reply()

    def _fork(self, slot: int) -> _Worker:
        self._board[2 * slot] = self._board[2 * slot + 1] = -1.0
        ours, theirs = socket.socketpair()
        assert self._control is not None
        try:
            self._control.send(("fork", slot))
            send_handle(self._control, theirs.fileno(), 0)
        except OSError:
            raise _MotherDied() from None
        finally:
            theirs.close()
        return _Worker(slot, self._reply(), Connection(ours.detach()))

    def _ask(self, kind: str, argument: object) -> None:
        assert self._control is not None
        try:
            self._control.send((kind, argument))
        except OSError:
            raise _MotherDied() from None
        self._reply()

    def _reply(self) -> Any:
        assert self._control is not None
        try:
            if not self._control.poll(_LOAD_S):
                raise UsageError(f"a verifier did not load within {_LOAD_S:g} s", "its import must be quick")
            reply = self._control.recv()
        except (EOFError, OSError):
            raise _MotherDied() from None
        if isinstance(reply, RatoonError):
            raise reply
        return reply


class _MotherDied(RatoonError):
    """Somebody killed the process that starts the workers."""

    def __init__(self) -> None:
        super().__init__("the process that starts verifier workers died twice", "run again; its last words are above")

    def __reduce__(self) -> tuple[type, tuple[()]]:  # type: ignore[override]
        return type(self), ()


def _end(control: Connection, mother: subprocess.Popen[bytes]) -> None:
    """Close the channel, at which the mother kills its workers and leaves."""
    control.close()
    try:
        mother.wait(timeout=5)
    except subprocess.TimeoutExpired:
        mother.kill()
        mother.wait()


def _by_reference(name: str, function: Callable[..., Any]) -> bytes:
    if name in VERIFIERS:
        raise UsageError(f"the name {name!r} is taken by a built-in verifier", "give yours another name")
    hint = "define it with `def` at the top of a module that can be imported, and import it from there"
    if getattr(function, "__module__", None) == "__main__":
        raise UsageError(f"the verifier {name!r} is defined in the running script; worker processes cannot import it", hint)
    try:
        return pickle.dumps(function)
    except Exception as error:
        raise UsageError(f"the verifier {name!r} cannot be sent to worker processes: {error}", hint) from None
