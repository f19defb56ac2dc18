"""The examples run as they are shown."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon import Run

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
SMALL = ["tasks.0.n=16", "tasks.1.n=16", "splits.eval=4", "splits.probe=0", "generate.tasks=8", "run.iterations=0"]


def python(*arguments: str | Path, server: str = "") -> str:
    environment = os.environ | {"PREFECT_API_URL": server, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`played("notebook.py", folder)`: what an example prints, in this process, where torch is imported once."""

    def play(name: str, *arguments: Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return play


def test_the_notebook_runs_on_a_finished_run(played: Callable[..., str], smoke_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(smoke_run, tmp_path / "smoke")
    told = played("notebook.py", copy)
    assert "verified" in told or "finish_reason" in told
    assert Run(copy).dataset("hard").num_rows > 0


def test_a_verifier_passed_in_python_judges_a_run(prefect_server: str, tmp_path: Path) -> None:
    told = python(EXAMPLES / "own_verifier.py", tmp_path / "run", *SMALL, server=prefect_server)
    assert "ends_with" in told
    scores = Run(tmp_path / "run").sql("select scorer, status, version from scores where scorer = 'ends_with'").fetchall()
    assert {status for _, status, _ in scores} == {"pass", "fail"}
    assert {version[0] for _, _, version in scores} == {"u"}


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_nft_learns_from_a_plain_file_of_labelled_replies(played: Callable[..., str], tmp_path: Path) -> None:
    told = played("nft_from_parquet.py", tmp_path / "out")
    first, *steps = told.splitlines()
    assert int(first.split()[0]) >= 16
    assert float(first.split()[-4]) < 0.01, "engine and trainer are the same model"
    assert "'ratio': 1.0" in steps[0], "the first step is on the policy that sampled"
    assert (tmp_path / "out" / "trained" / "policy.json").exists()
