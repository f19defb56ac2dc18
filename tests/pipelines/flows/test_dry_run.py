"""A dry run's prediction holds what the run then takes, as often as its interval says."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines.flows.dry_run import Total, planned_rollouts, predict, total
from ratoon.pipelines.recipe.recipe import load
from ratoon.run import Run


def test_a_total_is_the_mean_times_the_tasks_and_its_interval_closes_when_tasks_do_not_differ() -> None:
    assert total([3.0, 3.0, 3.0], 100) == (found := total([3.0] * 3, 100))
    assert (found.value, found.lo, found.hi) == (300.0, 300.0, 300.0)
    assert total([], 10).value == 0.0
    assert total([5.0], 10).lo is None
    assert total([1.0, 3.0], 10).lo == 0.0, "a total is never below 0"


def test_the_interval_of_a_total_covers_it_as_often_as_it_says() -> None:
    chance, covered = random.Random(0), 0
    for _ in range(2000):
        found = total([chance.gauss(100, 20) for _ in range(8)], 40)
        assert found.lo is not None
        assert found.hi is not None
        covered += found.lo <= sum(chance.gauss(100, 20) for _ in range(40)) <= found.hi
    assert 0.93 < covered / 2000 < 0.97


def test_a_dry_run_predicts_what_the_run_then_takes_and_leaves_no_folder(
    start: Callable[..., Any], here: Callable[..., Any], small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    more = ["suites.heldout.n=8", "budget.prices.prompt=1", "budget.prices.sampled=4"]
    found = predict(load("smoke", [*small, *more]))
    rows = {row["quantity"]: row for row in found["rows"]}
    assert found["asked_tasks"] == 8
    assert start(tmp_path / "run", *more).code == 0
    spent = Run(tmp_path / "run").status()["spent"]
    for quantity, took in (("prompt tokens", "prompt_tokens"), ("sampled tokens", "sampled_tokens"), ("cost", "cost")):
        assert rows[quantity]["lo"] <= spent[took] <= rows[quantity]["hi"], quantity
        assert rows[quantity]["lo"] < rows[quantity]["total"] < rows[quantity]["hi"]
    assert rows["rollouts"]["total"] == Run(tmp_path / "run").store.read("rollouts", columns=["sample"]).num_rows
    given = [argument for item in [*small, *more] for argument in ("--set", item)]
    told = here("run", "smoke", "--run", tmp_path / "other", "--dry-run", *given)
    assert told.code == 0, told.err
    assert "sampled tokens" in told.out
    assert not (tmp_path / "other").exists()


def test_rounds_that_may_ask_further_have_a_bound_and_others_none() -> None:
    def bounds(*sets: str) -> Total:
        return planned_rollouts(load("smoke", ["run.iterations=2", "generate.tasks=10", "generate.n=4", *sets]), 0)

    again = "generate.again=[{kind='failed_again',temperature=1.3,n=3}]"
    waves = ("generate.target_accepted=50", "generate.max_waves=3")
    assert bounds() == Total(80, None, None)
    assert bounds(again) == Total(80, 80, 80 + 2 * 10 * 3)
    assert bounds(*waves) == Total(80, 80, 3 * 80)
    assert bounds(again, *waves) == Total(80, 80, 3 * (80 + 2 * 10 * 3))
