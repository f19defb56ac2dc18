"""The curation benchmark in small: planted copies found, near misses spared, the same survivors however the rows are cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "curation.py"


def run(folder: Path, what: str, n: int) -> list[dict[str, Any]]:
    command = [sys.executable, str(SCRIPT), what, "--n", str(n), "--folder", str(folder)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def test_planted_copies_go_and_near_misses_stay(folder: Path) -> None:
    for told in run(folder, "minhash", 1500):
        assert told["recall"] > 0.95
        assert told["precision"] > 0.99


def test_survivors_are_the_same_at_any_number_of_shards(folder: Path) -> None:
    memory, survivors = run(folder, "memory", 1500)
    assert survivors["distinct"] == 1
    assert memory["peak_mb"] < 1000


def test_exact_and_lint_run(folder: Path) -> None:
    ours, theirs = run(folder, "exact", 1500)
    assert ours["removed"] > 0
    assert theirs["docs"] == 1500
    (told,) = run(folder, "lint", 1500)
    assert 0 < told["removed"] < 1500
