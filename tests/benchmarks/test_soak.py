"""A few seconds of the soak: every run under faults ends sound, nobody is left; memory is judged by a long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


def test_runs_under_random_faults_end_sound_and_leave_no_process() -> None:
    command = [sys.executable, str(SCRIPT), "--minutes", "0.15", "--seed", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["runs"] >= 1
    assert sum(report["met"].values()) >= 1
    assert set(report["wrong"].values()) == {0}, report["wrong"]
    assert report["orphans"] == 0
