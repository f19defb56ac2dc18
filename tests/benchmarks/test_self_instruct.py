"""The pool of a proposer that repeats itself, at a small size; the full one is `python benchmarks/self_instruct.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "self_instruct.py"


def test_half_is_repeated_and_no_two_of_the_pool_are_alike(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("self_instruct_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    told, known = bench.fill(tmp_path / "run", 200, 60, 0)
    assert told["accepted"] >= 200
    assert len(known) == told["accepted"] + 96
    assert sum(told["dropped"].values()) + told["accepted"] == told["candidates"]
    assert bench.nearest_pair([text for _, text in known]) < bench.THRESHOLD
    assert bench.nearest_pair(["one two three four", "one two three five"]) == 0.75
    found = bench.pace(known, 400, 0)
    assert 0.3 < found["not_new"] < 0.6
    assert found["checked"] > 2000
