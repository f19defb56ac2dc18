"""Processes that hold an engine: none outlives its parent, and none is waited for once it is gone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from ratoon.generators.engines.child import Reaper, environment, variables, when_one_ends


def test_a_parent_that_is_killed_takes_its_children_along() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    code = (
        "import os, sys; from ratoon.generators.engines.child import Reaper\n"
        "Reaper([int(sys.argv[1])]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(sleeper.pid)], check=False)
    assert sleeper.wait(10) == -9


def test_a_dismissed_reaper_kills_nothing() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    Reaper([sleeper.pid]).dismiss()
    time.sleep(0.2)
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


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
