"""One seed of every planted fault at a small size; the bars are `python benchmarks/audit_faults.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("audit_faults")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def tasks(bench: ModuleType) -> Any:
    return bench.pool(80, 4, 0)


@pytest.mark.parametrize("fault", ["one template", "contamination", "bad verifier", "length drift", "truncation",
                                   "language mix-in", "duplicated shard", "label flip"])  # fmt: skip
def test_a_planted_fault_is_named(bench: ModuleType, tasks: Any, fault: str) -> None:
    assert bench.FAULTS[fault][0] in bench.one(fault, tasks, 40, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["paraphrase collapse", "mode collapse"])
def test_a_collapse_of_meaning_is_named(bench: ModuleType, tasks: Any, fault: str) -> None:
    assert bench.FAULTS[fault][0] in bench.one(fault, tasks, 40, 0)


@pytest.mark.slow
def test_clean_halves_raise_nothing(bench: ModuleType, tasks: Any) -> None:
    assert bench.one("nothing", tasks, 40, 0) == []
