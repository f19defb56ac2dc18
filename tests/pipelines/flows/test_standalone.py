"""What an evaluation may not change: a run's own recipe and tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import ConfigError, UsageError
from ratoon.pipelines.flows.standalone import evaluate_model, evaluate_run
from ratoon.pipelines.rollouts import askers
from ratoon.store.store import Store

Open = Callable[..., Any]
SUITE = "[[tasks]]\nsource = 'arithmetic'\noperation = 'add'\ndigits = [1, 1]\nn = 4\n"


@pytest.fixture
def round_of_its_own(context: Open, ground: Any, tmp_path: Path) -> Path:
    with context() as ctx:
        on = ground(ctx)
        askers.assign_round(ctx, on.pool, on.prompts, 1)
    return tmp_path / "run"


def test_a_suite_of_ones_own_is_not_evaluated_in_the_folder_of_a_run(round_of_its_own: Path, tiny_model: Path) -> None:
    suite = round_of_its_own.with_name("suite.toml")
    suite.write_text(SUITE)
    before = Store.open(round_of_its_own)
    with pytest.raises(UsageError, match="rounds of its own"):
        evaluate_model(str(tiny_model), suite, against=None, root=round_of_its_own, sets=[], quiet=True)
    after = Store.open(round_of_its_own)
    assert after.config() == before.config()
    assert after.live() == before.live()


def test_a_suite_file_with_an_empty_table_of_suites_is_one_without(round_of_its_own: Path, tiny_model: Path) -> None:
    suite = round_of_its_own.with_name("suite.toml")
    suite.write_text(SUITE + "[suites]\n")
    with pytest.raises(UsageError, match="rounds of its own"):
        evaluate_model(str(tiny_model), suite, against=None, root=round_of_its_own, sets=[], quiet=True)


@pytest.mark.parametrize("path", ["tasks.0.n", "run.seed", "run.task_seed", "splits.eval", "prompt.system", "model.path"])
def test_an_evaluation_of_a_run_takes_no_set_of_what_the_run_is_made_of(round_of_its_own: Path, path: str) -> None:
    with pytest.raises(UsageError, match="frozen by its recipe"):
        evaluate_run(round_of_its_own, "heldout", sets=["engine.scripted.delay_s=0", f"{path}=1"], quiet=True)


@pytest.mark.parametrize("given", ["suites.heldout.n=2", "engine.scripted.delay_s=0", "verify.workers=1", "run.workers = 1"])
def test_what_an_evaluation_alone_uses_may_be_set(round_of_its_own: Path, given: str) -> None:
    with pytest.raises(ConfigError, match="no suite 'absent'"):
        evaluate_run(round_of_its_own, "absent", sets=[given], quiet=True)
