"""Processes that hold an engine: none outlives its parent, and none is waited for once it is gone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ratoon.generators.engines.child import Reaper, environment, variables, when_one_ends


def sleeper(reaper: Reaper) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env=os.environ | reaper.mark)


def test_a_parent_that_is_killed_takes_its_children_along_and_nobody_elses() -> None:
    code = (
        "import os, subprocess; from ratoon.generators.engines.child import Reaper\n"
        "reaper = Reaper(); sleeper = subprocess.Popen(['sleep', '60'], env=os.environ | reaper.mark)\n"
        "print(sleeper.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    bystander = Reaper()
    other = sleeper(bystander)
    child = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True)
    assert ended(int(child.stdout))
    assert other.poll() is None
    bystander.dismiss()
    other.kill()
    other.wait()


def test_a_dismissed_reaper_kills_nothing() -> None:
    reaper = Reaper()
    process = sleeper(reaper)
    reaper.dismiss()
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait()


def ended(pid: int) -> bool:
    """Whether the process is gone within some seconds; a zombie is."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_the_end_of_a_process_is_told() -> None:
    told = threading.Event()
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    when_one_ends([process], told.set)
    assert not told.wait(0.1)
    process.kill()
    assert told.wait(10)
    process.join()


def test_the_environment_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATOON_TEST_OWN", "mine")
    before = dict(os.environ)
    with environment({"RATOON_TEST_OWN": "theirs", "RATOON_TEST_NEW": "1"}):
        assert (os.environ["RATOON_TEST_OWN"], os.environ["RATOON_TEST_NEW"]) == ("mine", "1")
        os.environ["RATOON_TEST_ADDED"] = "by the library"
    assert dict(os.environ) == before


def test_only_a_folder_keeps_the_engine_off_the_hub(tmp_path) -> None:
    assert variables(str(tmp_path))["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in variables("some/name")


def test_on_few_cores_threads_that_wait_sleep_and_on_many_they_are_left_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert (variables("m")["OMP_WAIT_POLICY"], variables("m")["OMP_NUM_THREADS"]) == ("passive", "3")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert not {"OMP_WAIT_POLICY", "OMP_NUM_THREADS"} & variables("m").keys()
