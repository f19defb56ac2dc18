"""Who asks in a round: chosen from the recipe, heard in order; and a shard sampled as its assignments say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratoon.errors import DataError
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import assign, sample
from ratoon.pipelines.rollouts.askers import askers, next_wave
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import key
from ratoon.store.store import Counts

Open = Callable[..., Any]


@pytest.mark.parametrize(
    ("recipe", "sets", "in_round"),
    [
        ("smoke", [], [1, 1]),
        ("smoke", ["generate.target_accepted=9"], [2, 2]),
        ("nft", ["generate.mixed_groups=9", 'train.method=["rft","nft"]'], [1, 2]),
        ("consensus", [], [2, 2]),
    ],
)
def test_a_recipe_has_the_askers_it_names_in_the_rounds_they_are_for(recipe: str, sets: list[str], in_round: list[int]) -> None:
    assert [len(askers(load(recipe, sets), iteration)) for iteration in (1, 2)] == in_round


def test_a_round_is_asked_once_where_nobody_asks_further(context: Open, ground: Any) -> None:
    with context() as ctx:
        on = ground(ctx)
        nothing = RoundSoFar(1, [on.pool], [on.prompts])
        first = next_wave(ctx, nothing)
        assert first == next_wave(ctx, nothing), "the same round so far asks the same"
        assert next_wave(ctx, nothing.with_wave(first, [], [])) is None


def test_a_shard_is_sampled_as_its_assignments_say_whatever_it_is_called(context: Open, ground: Any) -> None:
    with context("run.shard_size=5", "suites.cold={split='eval',n=1,sampling={temperature=0.0}}") as ctx:
        on = ground(ctx)
        suites = [
            assign.assign_suite(ctx, on.pool, on.prompts, 0, name, ctx.recipe.suites[name]) for name in ("cold", "heldout")
        ]
        rows = ctx.store.read("assignments", suites)
        counts = Counts(rows.num_rows, rows.num_rows)
        both = ctx.store.put(key("assign", 1, "train+1"), {"assignments": rows}, counts)
        cut = sample.shards(ctx, both, on.base_row, on.base, first=3)
        assert [shard.name for shard in cut] == [f"train-{number:04d}" for number in range(3, 3 + len(cut))]
        for shard in cut:
            assert set(shard.rows["sampling_id"].to_pylist()) == {shard.sampling.sampling_id}
        assert {shard.sampling.temperature for shard in cut} == {0.0, ctx.recipe.suites["heldout"].sampling.temperature}
        assert sum(shard.n_planned for shard in cut) == sum(rows["n_planned"].to_pylist())


def test_a_sampling_that_no_row_records_is_refused(context: Open, ground: Any) -> None:
    with context() as ctx:
        ground(ctx)
        with pytest.raises(DataError, match="no sampling x is recorded"):
            records.sampling_of(ctx, "x")
