"""The training benchmark runs and its figures hang together; the bars themselves are for a quiet machine and the real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def training(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("training")


def test_a_small_case_times_both_methods_on_the_same_steps_and_counts_every_token(training: ModuleType, tmp_path: Path) -> None:
    folder = training.model_folder("tiny", tmp_path)
    rows = training.rows_of(folder, 32)
    assert rows.equals(training.rows_of(folder, 32))
    found = training.steps_compared(folder, rows, 3, tmp_path / "out")
    assert found["pairs"] == 6
    assert 0 < found["nft_over_rft_cpu_s"] < 3  # 1.15 is the bar, on the real model and a quiet machine
    told = training.ours(folder, rows, tmp_path / "out")
    assert told["steps"] == 2
    assert told["tokens_per_s"] > 0
