"""The other side of the verifier pool: a mother process that forks workers, and a worker's loop; knows no queue.

The mother is a fresh interpreter, never a fork of the caller: no threads, no torch, no re-import of the caller's script.
Verifiers and their libraries are loaded in the mother, so that replacing a killed worker costs one fork. When the caller
dies, however it dies, the mother reads the end of its control channel and takes every worker with it.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import pickle
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

from ratoon.errors import RatoonError, UsageError
from ratoon.metrics.verifiers import alternatives, is_ours, load, resolve
from ratoon.metrics.verifiers.verdict import as_verdict, errored

IDLE = -1.0
_FLUSH_S = 0.02
"""Finished verdicts wait this long at most: what is done again when a worker is killed."""

Extra = dict[str, Callable[..., Any]]
Board = Any  # memoryview of doubles, which typeshed cannot say yet


def mother(control_fd: int, board_fd: int, memory_mb: int) -> None:
    """Serve load, fork and kill until the control channel ends."""
    board: Board
    control, board = Connection(control_fd), memoryview(mmap.mmap(board_fd, 0)).cast("d")
    children: set[int] = set()
    try:
        extra = _answer(control, _load_extra, control.recv()) or {}
        while True:
            kind, argument = control.recv()
            if kind == "load":
                _answer(control, load, argument, extra)
            elif kind == "fork":
                children.add(pid := _fork(control, board, argument, extra, memory_mb))
                control.send(pid)
            elif kind == "kill":
                _kill(argument, children)
                control.send(None)
    except (EOFError, OSError):
        pass
    finally:
        for pid in list(children):
            _kill(pid, children)


def _answer(control: Connection, call: Callable[..., Any], *args: Any) -> Any:
    """What `call` returns; the caller gets None, or the error."""
    try:
        value = call(*args)
    except RatoonError as error:
        control.send(error)
    except BaseException as error:
        control.send(
            UsageError(f"a verifier cannot be loaded: {type(error).__name__}: {error}", "it must be importable by name")
        )
    else:
        control.send(None)
        return value
    return None


def _load_extra(pickled: dict[str, bytes]) -> Extra:
    return {name: pickle.loads(blob) for name, blob in pickled.items()}


def _fork(control: Connection, board: Board, slot: int, extra: Extra, memory_mb: int) -> int:
    handle = recv_handle(control)
    pid = os.fork()
    if pid == 0:
        control.close()
        with contextlib.suppress(BaseException):
            _prepare(memory_mb)
            _serve(Connection(handle), board, slot, extra)
        os._exit(0)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    os.close(handle)
    return pid


def _kill(pid: int, children: set[int]) -> None:
    """Kill a worker and whatever it started; only children that were not reaped yet, so no stranger has that pid."""
    if pid in children:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        children.discard(pid)


def _prepare(memory_mb: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    gc.freeze()
    with contextlib.suppress(OSError, ValueError):
        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(channel: Connection, board: Board, slot: int, extra: Extra) -> None:
    """Judge batches until the channel ends; `board[2·slot]` is the item at work, `board[2·slot + 1]` when it started."""
    functions: dict[str, Callable[..., Any]] = {}
    clock, at, since = time.monotonic, 2 * slot, 2 * slot + 1
    while True:
        batch = pickle.loads(channel.recv_bytes())
        done: list[tuple[Any, ...]] = []
        flushed = clock()
        for i, (name, text, answer, args) in enumerate(batch):
            now = clock()
            if now - flushed > _FLUSH_S and done:
                board[at] = IDLE
                _send(channel, done)
                done, flushed = [], (now := clock())
            board[since] = now  # before the index: a reader that sees the new index must not see the old start
            board[at] = float(i)
            done.append(_judge(functions, extra, name, text, answer, args))
        board[at] = IDLE
        _send(channel, done)


def _send(channel: Connection, done: list[tuple[Any, ...]]) -> None:
    channel.send_bytes(pickle.dumps(done, pickle.HIGHEST_PROTOCOL))


def _judge(
    functions: dict[str, Callable[..., Any]], extra: Extra, name: str, text: str, answer: str | None, args: Any
) -> tuple[Any, ...]:
    """The verdict as a plain tuple; whatever a verifier raises is an error of infrastructure."""
    try:
        function = functions.get(name)
        if function is None:
            function = functions[name] = resolve(name, extra)
        if alternatives.NAME in args:
            return _plain(alternatives.judge(function, text, answer, args))
        returned = function(text, answer, args)
        if is_ours(name, function):
            return tuple(returned)
        return _plain(as_verdict(returned))
    except BaseException as error:
        return tuple(errored(f"{type(error).__name__}: {error}"[:300]))


def _plain(verdict: tuple[Any, ...]) -> tuple[Any, ...]:
    """A user's verdict in types that the table takes."""
    status, value, answer, detail = verdict
    return (
        status,
        None if value is None else float(value),
        None if answer is None else str(answer),
        None if detail is None else str(detail),
    )
