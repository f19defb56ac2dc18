"""Who is asked what: assignments, shards and sample numbers; and a failed rollout's second attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from ratoon.errors import EngineDead
from ratoon.pipelines.rollouts import askers, assign, sample

Open = Callable[..., Any]
TWO_SUITES = ["suites.heldout={split='eval',n=2}", "suites.again={split='eval',n=3}", "suites.cold={split='eval',n=1,sampling={temperature=0.0}}"]  # fmt: skip  # noqa: E501


def test_shards_cover_every_assignment_once_in_task_order_at_the_frozen_size(context: Open, ground: Any) -> None:
    with context("run.shard_size=5") as ctx:
        on = ground(ctx)
        asked = askers.assign_round(ctx, on.pool, on.prompts, 1)
        cut = sample.shards(ctx, asked, on.base_row, on.base)
        tasks = [task for shard in cut for task in shard.rows["task_id"].to_pylist()]
        assert [s.name for s in cut] == ["train-0000", "train-0001", "train-0002"]
        assert [s.rows.num_rows for s in cut] == [5, 5, 2]
        assert tasks == sorted(ctx.store.read("assignments", [asked])["task_id"].to_pylist())
        assert sum(s.n_planned for s in cut) == 12 * 4
    with context("run.shard_size=3") as ctx:
        cut = sample.shards(ctx, asked, on.base_row, on.base)
        assert [s.rows.num_rows for s in cut] == [5, 5, 2], "the first start froze the size"


def test_a_round_asks_only_training_tasks_and_a_suite_only_its_split(context: Open, ground: Any) -> None:
    with context() as ctx:
        on = ground(ctx)
        split = dict(zip(*(ctx.store.read("tasks", [on.pool])[c].to_pylist() for c in ("task_id", "split")), strict=True))
        for asked, wanted in (
            (askers.assign_round(ctx, on.pool, on.prompts, 1), "train"),
            (assign.assign_suite(ctx, on.pool, on.prompts, 0, "heldout", ctx.recipe.suites["heldout"]), "eval"),
        ):
            assert {split[t] for t in ctx.store.read("assignments", [asked])["task_id"].to_pylist()} == {wanted}


def test_a_suite_asks_the_same_tasks_at_every_iteration_and_fewer_of_them_are_a_part_of_more(
    context: Open, ground: Any
) -> None:
    with context() as ctx:
        on, suite = ground(ctx), ctx.recipe.suites["heldout"]

        def tasks(iteration: int, n: int | None) -> set[str]:
            asked = assign.assign_suite(ctx, on.pool, on.prompts, iteration, "heldout", suite.model_copy(update={"tasks": n}))
            return set(ctx.store.read("assignments", [asked])["task_id"].to_pylist())

        assert tasks(0, None) == tasks(3, None)
        assert len(tasks(0, 3)) == 3
        assert tasks(0, 3) < tasks(0, 6) < tasks(0, None)


def test_a_suites_few_tasks_are_chosen_by_the_seed_of_the_tasks_not_of_the_run(context: Open, ground: Any) -> None:
    def asked(*sets: str) -> tuple[str, list[str]]:
        with context("suites.heldout.tasks=4", *sets) as ctx:
            on = ground(ctx)
            made = assign.assign_suite(ctx, on.pool, on.prompts, 0, "heldout", ctx.recipe.suites["heldout"])
            return made.artifact_id, sorted(ctx.store.read("assignments", [made])["task_id"].to_pylist())

    first = asked("run.seed=0", "run.task_seed=0")
    assert asked("run.seed=1", "run.task_seed=0") == first
    assert asked("run.seed=0", "run.task_seed=1")[0] != first[0]


def test_suites_that_share_a_group_take_other_samples_of_it(context: Open) -> None:
    with context(*TWO_SUITES) as ctx:
        assert [assign.first_sample(ctx, name) for name in ("heldout", "again", "cold")] == [0, 2, 0]


def test_a_suite_on_training_tasks_starts_after_the_samples_that_training_takes(context: Open) -> None:
    same = "suites.seen={split='train',n=2,sampling={temperature=1.0,max_tokens=64}}"
    with context(same) as ctx:
        assert assign.first_sample(ctx, "seen") == ctx.recipe.generate.n
    with context(same.replace("1.0", "0.9")) as ctx:
        assert assign.first_sample(ctx, "seen") == 0


def test_a_sampled_shard_is_found_again_and_accounts_for_every_rollout(context: Open, ground: Any, harvest: Any) -> None:
    with context("engine.scripted.errors=0.3") as ctx:
        crop = harvest(ctx, ground(ctx))
        again = harvest(ctx, ground(ctx))
        assert [m.artifact_id for m in crop.rollouts] == [m.artifact_id for m in again.rollouts]
        counts = [m.counts for m in crop.rollouts]
        assert sum(c.rows_planned for c in counts) == 48 == sum(c.rows_out + c.failed for c in counts)
        assert sum(c.failed for c in counts) == ctx.store.read("failures", crop.rollouts).num_rows > 0
        assert ctx.store.read("groups", [crop.groups])["n"].to_pylist() == [4] * 12


def test_only_failed_rollouts_are_asked_again_keep_their_ids_and_the_second_attempt_is_found_later(
    context: Open, ground: Any, harvest: Any, asked: Any, tmp_path: Path
) -> None:
    with context("engine.scripted.errors=0.3") as ctx:
        first = harvest(ctx, ground(ctx))
        rows = ctx.store.read("rollouts", first.rollouts, columns=["rollout_id", "error"])
    failed = set(rows.filter(pc.is_valid(rows["error"]))["rollout_id"].to_pylist())
    before = asked(tmp_path / "run")
    with context() as ctx:
        harvest(ctx, ground(ctx))
    assert asked(tmp_path / "run") == before, "without being told, nothing is asked again"
    with context(retry_failed=True) as ctx:
        second = harvest(ctx, ground(ctx))
        now = ctx.store.read("rollouts", second.rollouts, columns=["rollout_id", "error"])
    assert set(asked(tmp_path / "run")[len(before) :]) == failed
    assert sorted(now["rollout_id"].to_pylist()) == sorted(rows["rollout_id"].to_pylist())
    assert now["error"].null_count == now.num_rows
    with context() as ctx:
        third = harvest(ctx, ground(ctx))
        assert [m.artifact_id for m in third.rollouts] == [m.artifact_id for m in second.rollouts]
        assert {m.key.config["attempt"] for m in third.rollouts} <= {0, 1}


def test_a_dead_engine_fails_its_shard_and_serves_the_next(context: Open, ground: Any, asked: Any, tmp_path: Path) -> None:
    with context("engine.scripted.dies_after=5", "engine.scripted.deaths=2") as ctx:
        on = ground(ctx)
        planned = askers.assign_round(ctx, on.pool, on.prompts, 1)
        first, second = sample.shards(ctx, planned, on.base_row, on.base)
        with pytest.raises(EngineDead, match="after 5 requests"):
            sample.sample_shard(ctx, first, on.prompts)
        assert sample.sample_shard(ctx, second, on.prompts).counts.rows_out == second.n_planned
        assert sample.sample_shard(ctx, first, on.prompts).counts.rows_out == first.n_planned
    sent = asked(tmp_path / "run")
    assert len(sent) - len(set(sent)) == 1, "what was in flight; the five before were in the journal"


def test_the_engine_is_told_of_a_policy_once_not_once_a_shard(context: Open, ground: Any) -> None:
    with context() as ctx:
        on, told = ground(ctx), []
        engine = ctx.engine(on.base)
        loaded = engine.use
        engine.use = lambda policy: (told.append(policy), loaded(policy))
        for _ in range(3):
            ctx.engine(on.base)
        assert told == []
        ctx.engine_died()
        ctx.engine(on.base)
        assert told == [on.base]
