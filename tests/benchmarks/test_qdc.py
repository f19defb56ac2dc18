"""The benchmark of the numbers, small: collapse shows on real embeddings, and the cheap tier measures a stored round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "qdc.py"


def test_the_cheap_tier_measures_a_round_from_bare_text() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "cheap", "4000", "1000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == 4000
    assert report["measures"] > 70
    assert 0 < report["stored_cpu_s"] < report["bare_cpu_s"]


@pytest.mark.slow
def test_a_planted_collapse_shows_in_every_headline_on_real_embeddings() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "collapse", "200"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in done.stdout.splitlines()[2:]}
    for name in ("vendi", "rke", "clusters", "knn5_distance", "compression_gzip", "self_repetition", "distinct_3"):
        assert rows[name] == "True", done.stdout
