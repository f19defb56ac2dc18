"""One writer at a time; a dead one is replaced at once, a distant one only when it has long been silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ratoon.errors import RunLocked
from ratoon.store import lock
from ratoon.store.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from ratoon.store.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
FORK = """
import os, sys, time
from pathlib import Path
from ratoon.store.lock import Lock
with Lock(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(60); os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(root: Path, code: str = HOLD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def test_a_living_writer_keeps_others_out_and_is_named(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _), pytest.raises(RunLocked) as caught, Lock(tmp_path):
        pass
    assert f"process {process.pid}" in caught.value.message
    assert f"kill {process.pid}" in caught.value.hint


def test_a_second_writer_in_the_same_process_is_kept_out_too(tmp_path: Path) -> None:
    with Lock(tmp_path), pytest.raises(RunLocked, match=f"process {os.getpid()}"), Lock(tmp_path):
        pass


def test_a_killed_writer_is_replaced_at_once_even_before_it_is_reaped(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        process.send_signal(signal.SIGKILL)
        while lock._start_time(process.pid) is not None:
            time.sleep(0.01)
        started = time.monotonic()
        with Lock(tmp_path) as mine:
            assert mine.held()
        assert time.monotonic() - started < 1


def test_children_of_a_killed_writer_do_not_hold_the_run(tmp_path: Path) -> None:
    """A kernel lock would be inherited by a forked worker or trainer."""
    with holder(tmp_path, FORK) as (process, child):
        process.kill()
        process.wait()
        try:
            with Lock(tmp_path) as mine:
                assert mine.held()
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_writer_that_leaves_leaves_no_lock(tmp_path: Path) -> None:
    with Lock(tmp_path):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_a_recycled_pid_is_not_mistaken_for_the_owner(tmp_path: Path) -> None:
    """Our own pid, alive, with another start time: the owner is dead."""
    past = replace(lock.current(), start="1")
    (tmp_path / "lock").write_text(json.dumps(asdict(past)))
    with Lock(tmp_path) as mine:
        assert mine.held()


def test_another_host_is_judged_by_its_heartbeat_alone(tmp_path: Path) -> None:
    far = replace(lock.current(), host="elsewhere", boot="other", pid=1)
    path = tmp_path / "lock"
    path.write_text(json.dumps(asdict(far)))
    with pytest.raises(RunLocked, match=r"elsewhere.*last sign of life") as caught, Lock(tmp_path):
        pass
    assert "process 1" in caught.value.message
    old = time.time() - lock.STALE_S - 1
    os.utime(path, (old, old))
    with Lock(tmp_path) as mine:
        assert mine.held()


def test_a_lock_that_was_taken_over_is_neither_held_nor_removed(tmp_path: Path) -> None:
    with Lock(tmp_path) as mine:
        other = replace(lock.current(), host="elsewhere")
        (tmp_path / "lock").write_text(json.dumps(asdict(other)))
        assert not mine.held()
    assert lock.read_owner(tmp_path / "lock") == other


def test_a_garbled_lock_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("{")
    with Lock(tmp_path) as mine:
        assert mine.held()


def test_of_many_processes_that_find_a_dead_owner_one_gets_the_run(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps(asdict(replace(lock.current(), start="1"))))
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, text=True) for _ in range(4)]
    try:
        said = [racer.stdout.readline() for racer in racers if racer.stdout]
        assert sorted(said) == ["", "", "", "held\n"]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
