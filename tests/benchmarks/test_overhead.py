"""The overhead benchmark runs and its figures hang together; the bars themselves are for a quiet machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "overhead.py"


def test_a_small_case_reports_figures_that_hang_together(prefect_server: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--tasks", "100", "--n", "4", "--shard-size", "25", "--run", str(tmp_path / "run")]
    environment = os.environ | {"PREFECT_API_URL": prefect_server}  # without it the benchmark starts an embedded one
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rollouts"] == 400
    assert report["sampled_tokens"] == 400 * 32
    assert 0 < report["kept"] < 400
    assert report["commits"] == 5 + 2 * 4 + 2  # tasks, prompts, base, sampling, assign; 4 shards twice; groups, curate
    parts = sum(report[f"{name}_s"] for name in ("propose", "prompts_and_assign", "rollouts_scores_groups", "curate"))
    assert 0 < parts <= report["flow_s"]
    assert 0 < report["engine_cpu_s"] <= report["engine_wall_s"] + 0.1
    assert report["without_engine_ms"] < report["per_rollout_ms"] == 1000 * report["flow_s"] / 400
    assert 0 < report["peak_verifiers_mb"] < report["peak_mb"] < 2000
    assert report["prefect_start_s"] > 0
