"""What a killed start leaves running is ended by the next one; nobody else's process is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon.machine import state
from ratoon.machine.children import FOLDER, Children
from ratoon.store.lock import owner_of

# Stands for a flow: starts a child, writes it down, says its pid, and waits to be killed.
FLOW = """
import subprocess, sys, time
from pathlib import Path
from ratoon.machine.children import Children
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
Children(Path(sys.argv[1])).started(child.pid, "a sleeper")
print(child.pid, flush=True)
time.sleep(300)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def killed_flow(root: Path) -> int:
    """The pid of a child whose parent was killed."""
    with subprocess.Popen([sys.executable, "-c", FLOW, str(root)], stdout=subprocess.PIPE, text=True) as flow:
        assert flow.stdout is not None
        pid = int(flow.stdout.readline())
        flow.kill()
    return pid


def test_an_orphan_of_a_killed_start_is_ended_and_forgotten(tmp_path: Path) -> None:
    pid = killed_flow(tmp_path)
    assert owner_of(pid) is not None, "it outlived its parent"
    assert Children(tmp_path).end_orphans() == [("a sleeper", pid)]
    end = time.monotonic() + 5
    while owner_of(pid) is not None and time.monotonic() < end:
        time.sleep(0.02)
    assert owner_of(pid) is None
    assert Children(tmp_path).end_orphans() == []
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_recycled_pid_and_a_child_whose_parent_lives_are_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    children = Children(tmp_path)
    children.started(sleeper.pid, "mine")
    assert children.end_orphans() == [], "this process, its parent, lives"
    (record,) = (tmp_path / FOLDER).iterdir()
    tree = json.loads(record.read_text())
    tree["parent"]["start"] = "1"  # the parent is gone …
    tree["child"]["start"] = "2"  # … and so is the child: somebody else has its pid
    record.write_text(json.dumps(tree | {"seal": state.seal(tree)}))
    assert children.end_orphans() == []
    assert sleeper.poll() is None
    assert not record.exists()


@pytest.mark.parametrize("seal", [None, "", "0" * 64, 1, "\udcff"])
def test_a_strangers_record_ends_nobody(tmp_path: Path, sleeper: subprocess.Popen[bytes], seal: object) -> None:
    Children(tmp_path).started(sleeper.pid, "yours")
    (record,) = (tmp_path / FOLDER).iterdir()
    tree = json.loads(record.read_text())
    tree["parent"]["start"] = "1"
    record.write_text(json.dumps(tree | {"seal": seal}))
    assert Children(tmp_path).end_orphans() == []
    assert sleeper.poll() is None
    record.write_text(json.dumps(tree | {"seal": state.seal(tree)}))
    assert Children(tmp_path).end_orphans() == [("yours", sleeper.pid)], "without the seal the record would end it"


def test_a_child_on_another_host_is_not_judged_here(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    children = Children(tmp_path)
    children.started(sleeper.pid, "mine")
    (record,) = (tmp_path / FOLDER).iterdir()
    tree = json.loads(record.read_text())
    tree["parent"]["start"] = "1"
    tree["child"]["host"] = "elsewhere"
    record.write_text(json.dumps(tree))
    assert children.end_orphans() == []
    assert sleeper.poll() is None
    assert record.exists()


def test_a_damaged_record_ends_nobody(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{sleeper.pid}.json").write_text('{"what": "x", "child": {"pid": ')
    assert Children(tmp_path).end_orphans() == []
    assert sleeper.poll() is None


def test_an_orphan_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratoon.machine.children._PATIENCE_S", 0.2)
    stubborn = FLOW.replace('["sleep", "300"]', '["sh", "-c", "trap \'\' TERM; while :; do sleep 1; done"]')
    with subprocess.Popen([sys.executable, "-c", stubborn, str(tmp_path)], stdout=subprocess.PIPE, text=True) as flow:
        assert flow.stdout is not None
        pid = int(flow.stdout.readline())
        time.sleep(0.2)
        os.kill(flow.pid, signal.SIGKILL)
    assert Children(tmp_path).end_orphans() == [("a sleeper", pid)]
    assert owner_of(pid) is None


def test_own_children_are_asked_to_end_and_others_are_not(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    children = Children(tmp_path)
    children.started(sleeper.pid, "mine")
    with subprocess.Popen(["sleep", "300"]) as other:
        children.started(other.pid, "another's")
        record = tmp_path / FOLDER / f"{other.pid}.json"
        tree = json.loads(record.read_text())
        tree["parent"]["start"] = "1"
        record.write_text(json.dumps(tree))
        children.end_own()
        assert sleeper.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()
