"""The curation benchmark in small: planted copies found, near misses spared, the same survivors however the rows are cut."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "curation.py"
Run = Callable[[str, int], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def curation(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("curation")


@pytest.fixture
def run(curation: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("minhash", 1500)`: the lines that the benchmark prints."""

    def call(what: str, n: int) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), what, "--n", str(n), "--folder", str(folder)])
        curation.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def test_planted_copies_go_and_near_misses_stay(run: Run) -> None:
    for told in run("minhash", 1500):
        assert told["recall"] > 0.95
        assert told["precision"] > 0.99


def test_survivors_are_the_same_at_any_number_of_shards(folder: Path) -> None:
    # In a process of its own, whose peak memory is that of nothing else.
    command = [sys.executable, str(SCRIPT), "memory", "--n", "1500", "--folder", str(folder)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    memory, survivors = (json.loads(line) for line in done.stdout.splitlines())
    assert survivors["distinct"] == 1
    assert memory["peak_mb"] < 1000


def test_exact_and_lint_run(run: Run) -> None:
    ours, theirs = run("exact", 1500)
    assert ours["removed"] > 0
    assert theirs["docs"] == 1500
    (told,) = run("lint", 1500)
    assert 0 < told["removed"] < 1500
