"""The stopping bars at a small size; the full one is `python benchmarks/consensus.py`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def bench(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("consensus")


def test_the_planted_mix_keeps_its_bars_at_a_small_size(bench: ModuleType) -> None:
    found = bench.stopping(400, 1)
    assert found["curtailment_changed"] == 0
    assert found["anytime_wrong"] <= 0.05
    assert found["anytime_saved"] > found["curtailment_saved"] > 0.1
    assert 0.4 < found["accepted"] < 0.8


def test_a_vote_of_many_is_whole_and_right(bench: ModuleType) -> None:
    found = bench.pace(4_000, 0)
    assert found["accepted"] > 0.7
