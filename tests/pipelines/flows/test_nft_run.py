"""A run that changes its method by round: rft first, then nft on whole groups of the policy that sampled them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from ratoon import Run
from ratoon.sft.data import dataset
from ratoon.sft.models import policy

Here = Callable[[], AbstractContextManager[None]]
SETS = [
    'train.method=["rft", "nft"]', "train.start=base", "train.nft.max_logprob_gap=100", "generate.mixed_groups=5",
    "engine.scripted.pass_rate={'*'=0.5}", "generate.tasks=4", "run.iterations=2", "run.evaluate_every=2",
    "train.min_examples=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def nft_run(prefect_here: None, training_here: Here, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds; the scripted engine invents its log-probs, hence the wide bound on the gap."""
    root = tmp_path_factory.mktemp("nft") / "run"
    with training_here():
        Run.start("smoke", root, sets=[*small, *SETS], quiet=True)
    return root


@pytest.mark.slow
def test_the_schedule_trains_rft_from_its_start_and_nft_from_the_policy_that_sampled(nft_run: Path) -> None:
    base, first, second = Run(nft_run).store.read("policies").sort_by("iteration").to_pylist()
    assert [p["method"] for p in (base, first, second)] == [None, "rft", "nft"]
    assert first["parent_policy_id"] == base["policy_id"]
    assert second["parent_policy_id"] == first["policy_id"]
    rows = dataset.read_dataset(nft_run / "datasets/default/2").to_pylist()
    assert {r["policy_id"] for r in rows} == {first["policy_id"]}
    assert first["weights_digest"] != second["weights_digest"]


@pytest.mark.slow
def test_an_nft_round_fills_its_batch_of_mixed_groups_and_rescores_it_by_the_trainer(nft_run: Path) -> None:
    run = Run(nft_run)
    (row,) = [r for r in run.rounds() if r["round"] == 2]
    groups = [r for r in dataset.read_dataset(nft_run / "datasets/default/2").to_pylist() if r["view"] == "group"]
    assert row["mixed"] == len({r["group_id"] for r in groups}) >= 5
    assert row["kept"] == len(groups)
    rescored = run.store.read("rescored").to_pylist()
    assert {r["rollout_id"] for r in rescored} == {r["rollout_id"] for r in groups}
    assert {r["source"] for r in rescored} == {"trainer"}


@pytest.mark.slow
def test_only_every_second_round_is_evaluated_and_the_queue_is_visible(nft_run: Path) -> None:
    rounds = Run(nft_run).status()["rounds"]
    assert [r["pass@1"] is not None for r in rounds] == [True, False, True]
    queued = Run(nft_run).sql("select iteration, count(*) from state where step = 'retry' group by all").fetchall()
    assert {i: n for i, n in queued if n} == {r["round"]: r["retry"] for r in rounds if r["retry"]}


@pytest.mark.slow
def test_a_second_start_finds_everything_and_asks_nothing(nft_run: Path, small: list[str]) -> None:
    before = len(Run(nft_run).store.commits()), (nft_run / "logs/requests.log").read_text()
    Run.start("smoke", nft_run, sets=[*small, *SETS], quiet=True)
    assert (len(Run(nft_run).store.commits()), (nft_run / "logs/requests.log").read_text()) == before


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_nft_is_trained_from_the_sampler_on_the_runs_newest_groups(
    nft_run: Path, here: Callable[..., Any], tmp_path: Path
) -> None:
    sets = ["--set", "train.nft.max_logprob_gap=100", "--set", "train.nft.prompt_weight=sqrt"]
    told = here("train", nft_run, "--method", "nft", "--out", tmp_path / "model", "--quiet", *sets)
    assert told.code == 0, told.out + told.err
    made = policy.verify_policy(tmp_path / "model")
    first = next(p for p in Run(nft_run).store.read("policies").to_pylist() if p["iteration"] == 1)
    assert (made.method, made.parent_policy_id, made.iteration) == ("nft", first["policy_id"], 2)
