"""Who asks in a round: chosen from the recipe, heard in order; and a shard sampled as its assignments say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratoon.errors import ConfigError, DataError
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import assign, sample, score
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
        ("smoke", ["generate.again=[{kind='failed_again',temperature=1.3}]"], [2, 2]),
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


def test_tasks_that_nobody_solved_are_asked_again_once_at_another_temperature(context: Open, ground: Any) -> None:
    rule = "generate.again=[{kind='failed_again',temperature=1.3,n=2}]"
    with context(rule, "generate.n=2") as ctx:
        on = ground(ctx)
        held = RoundSoFar(1, [on.pool], [on.prompts])
        while (assigned := next_wave(ctx, held)) is not None:
            cut = sample.shards(ctx, assigned, on.base_row, on.base, first=len(held.rollouts))
            rollouts = [sample.sample_shard(ctx, shard, held.prompts) for shard in cut]
            held = held.with_wave(assigned, rollouts, [score.score_shard(ctx, each, held.pool) for each in rollouts])
        first, again = held.asked
        solved = score.groups_so_far(ctx, RoundSoFar(1, held.pool, held.prompts, (first,), held.rollouts[:2], held.scores[:2]))
        failed = {row["task_id"] for row in solved.to_pylist() if row["pass_rate"] == 0}
        rows = ctx.store.read("assignments", [again]).to_pylist()
        assert {row["task_id"] for row in rows} == failed
        assert 0 < len(failed) < solved.num_rows
        assert {row["n_planned"] for row in rows} == {2}
        (sampling,) = {row["sampling_id"] for row in rows}
        assert records.sampling_of(ctx, sampling).temperature == 1.3
        whole = score.groups_so_far(ctx, held)
        assert whole.num_rows == solved.num_rows + len(failed), "the further rollouts of a task are a group of their own"


@pytest.mark.parametrize(
    ("recipe", "temperature", "match"),
    [("smoke", 1.0, "has the temperature of"), ("consensus", 1.3, "take generate.again out")],
)
def test_a_rule_that_could_not_ask_otherwise_is_refused(recipe: str, temperature: float, match: str) -> None:
    rule = f"generate.again=[{{kind='failed_again',temperature={temperature}}}]"
    with pytest.raises(ConfigError, match=match):
        load(recipe, [rule, "sampling.temperature=1.0"])
