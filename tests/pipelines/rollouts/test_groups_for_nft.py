"""What an nft round writes: whole groups with contrast, what rft may still learn from, and what to ask again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ratoon import schema
from ratoon.errors import Refused
from ratoon.pipelines.curation.curate import candidates, crop_of, curate
from ratoon.pipelines.curation.recurate import replay
from ratoon.pipelines.rollouts import askers, sample, score
from ratoon.pipelines.rollouts import retry_queue as retry
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.training import gate
from ratoon.pipelines.views.summary import rounds
from ratoon.sft.data import dataset
from ratoon.store.store import Store

Open = Callable[..., Any]
NFT = ["train.method=nft", "engine.scripted.pass_rate={add=0.6, '*'=0.3}", "generate.n=4"]


def test_groups_of_rate_0_and_1_never_reach_nft_but_reach_rft_and_the_retry_queue(
    context: Open, ground: Any, harvest: Any
) -> None:
    with context(*NFT) as ctx:
        crop = harvest(ctx, ground(ctx))
        made = curate(ctx.store, ctx.recipe, crop)
        rows = dataset.read_dataset(ctx.store.root / made.extra["folder"]).to_pylist()
        rates = {r["task_id"]: r["pass_rate"] for r in candidates(ctx.store, crop).to_pylist()}
        by_view = {view: {r["task_id"] for r in rows if r["view"] == view} for view in ("group", "sft")}
        assert {rates[t] for t in by_view["group"]} & {0.0, 1.0} == set()
        assert by_view["group"] == {t for t, rate in rates.items() if 0 < rate < 1}
        assert {t for t, rate in rates.items() if rate == 1.0} <= by_view["sft"], "always right: nft cannot use it, rft can"
        queued = ctx.store.read("state", [made]).to_pylist()
        assert {s["key"] for s in queued} == {t for t, rate in rates.items() if rate == 0.0}
        assert queued
        assert {(s["step"], json.loads(s["value"])["n_valid"]) for s in queued} == {("retry", 4)}


def test_groups_are_whole_and_every_other_rollout_has_a_reason(context: Open, ground: Any, harvest: Any) -> None:
    with context(*NFT) as ctx:
        crop = harvest(ctx, ground(ctx))
        made = curate(ctx.store, ctx.recipe, crop)
        rows = [r for r in dataset.read_dataset(ctx.store.root / made.extra["folder"]).to_pylist() if r["view"] == "group"]
        assert made.counts.rows_out == len(rows) > 0
        assert all(count == 4 for count in Counter(r["group_id"] for r in rows).values())
        assert {r["weight"] for r in rows} == {1.0}
        assert {r["label"] for r in rows} == {True, False}
        decisions = [
            d for d in ctx.store.read("decisions", [made]).to_pylist() if d["curation_id"] == made.extra["curation_id"]
        ]
        assert {d["reason"] for d in decisions if not d["keep"]} == {"group:all_wrong", "group:all_right"}
        assert len(decisions) == made.counts.rows_planned == made.counts.rows_out + made.counts.dropped


def test_where_curation_drops_rollouts_the_rest_of_the_group_stand_for_them(context: Open, ground: Any, harvest: Any) -> None:
    with context(*NFT, "engine.scripted.truncated=0.3", "group_filters=[{kind='finish_reason'}]") as ctx:
        crop = harvest(ctx, ground(ctx))
        made = curate(ctx.store, ctx.recipe, crop)
        rows = [r for r in dataset.read_dataset(ctx.store.root / made.extra["folder"]).to_pylist() if r["view"] == "group"]
        groups = {g["group_id"]: g for g in ctx.store.read("groups", [crop.groups]).to_pylist()}
        assert any(r["weight"] > 1 for r in rows)
        for group in {r["group_id"] for r in rows}:
            mine, whole = [r for r in rows if r["group_id"] == group], groups[group]
            assert {r["pass_rate"] for r in mine} == {whole["pass_rate"]}, "of the group before curation"
            assert sum(r["weight"] for r in mine if r["label"]) == pytest.approx(whole["n_passed"])
            assert sum(r["weight"] for r in mine if not r["label"]) == pytest.approx(whole["n_valid"] - whole["n_passed"])


def test_the_dataset_says_who_sampled_its_groups_and_how(context: Open, ground: Any, harvest: Any) -> None:
    with context(*NFT) as ctx:
        on = ground(ctx)
        made = curate(ctx.store, ctx.recipe, harvest(ctx, on))
        sources = dataset.read_info(ctx.store.root / made.extra["folder"]).sources
        (policy,), (sampling,) = sources["policies"], sources["samplings"]
        assert policy["policy_id"] == on.base.policy_id
        assert (policy["tokenizer_digest"], policy["template_digest"]) == (
            ctx.renderer.tokenizer_digest, ctx.renderer.template_digest,
        )  # fmt: skip
        assert (sampling["temperature"], sampling["top_p"], sampling["top_k"]) == (1.0, 1.0, 0)
        assert (sources["stop_rules"], sources["label_sources"]) == ([], ["verifier"])


def test_an_rft_run_is_curated_as_before_and_again_as_groups_without_a_model_call(
    context: Open, ground: Any, harvest: Any, asked: Any, tmp_path: Any
) -> None:
    with context() as ctx:
        made = curate(ctx.store, ctx.recipe, harvest(ctx, ground(ctx)))
        assert set(dataset.read_dataset(ctx.store.root / made.extra["folder"])["view"].to_pylist()) == {"sft"}
        assert "state" not in made.digests
    before = asked(tmp_path / "run")
    (told,) = replay(tmp_path / "run", "groups", ["train.method=nft"])
    assert asked(tmp_path / "run") == before
    rows = dataset.read_dataset(tmp_path / "run/datasets/groups/1")
    assert rows["view"].to_pylist().count("group") == told["kept"] > 0
    assert Store.open(tmp_path / "run").get(made.artifact_id) == made


def test_what_was_never_solved_takes_at_most_its_share_of_the_next_round(context: Open, ground: Any, harvest: Any) -> None:
    with context(*NFT, "engine.scripted.pass_rate={'*'=0.0}", "generate.tasks=8", "generate.retry_share=0.5") as ctx:
        on = ground(ctx)
        curate(ctx.store, ctx.recipe, harvest(ctx, on))
        first, second = (
            set(ctx.store.read("assignments", [askers.assign_round(ctx, on.pool, on.prompts, i)])["task_id"].to_pylist())
            for i in (1, 2)
        )
        queued = {s["key"] for s in ctx.store.read("state").to_pylist()}
        assert len(queued) == 8
        assert len(first & second) == 4
        assert first & second <= queued


def test_a_task_leaves_the_queue_when_it_was_solved_or_asked_often_enough() -> None:
    state = schema.from_rows("state", [{"iteration": i, "step": "retry", "key": t} for i, t in [(1, "a"), (1, "b"), (2, "b")]])
    asked = [(1, "a"), (1, "b"), (2, "b")]
    assert retry.queue(state, asked, times=2) == {"a", "b"}
    assert retry.queue(state, asked, times=1) == {"a"}, "b was asked again once"
    assert retry.queue(state, asked, times=0) == set()
    assert retry.queue(state, [*asked, (2, "a")], times=2) == {"b"}, "asked again in round 2, and not among the failed there"
    assert retry.queue(state, [*asked, (3, "b"), (3, "a")], times=5) == set()


def _round(ctx: Any, on: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """One round in waves, without Prefect; what the flow does."""
    held = RoundSoFar(1, [on.pool], [on.prompts])
    while (wave := askers.next_wave(ctx, held)) is not None:
        shards = sample.shards(ctx, wave, on.base_row, on.base, len(held.rollouts))
        made = [sample.sample_shard(ctx, shard, on.prompts) for shard in shards]
        held = held.with_wave(wave, made, [score.score_shard(ctx, m, on.pool) for m in made])
    return held.asked, held.rollouts, held.scores


def test_a_round_asks_other_tasks_until_enough_groups_are_mixed(context: Open, ground: Any) -> None:
    with context(*NFT, "generate.tasks=4", "generate.mixed_groups=5", "generate.max_waves=9") as ctx:
        on = ground(ctx)
        asked, rollouts, scores = _round(ctx, on)
        groups = score.group(ctx, asked, rollouts, scores)
        tasks = ctx.store.read("assignments", asked)["task_id"].to_pylist()
        assert len(tasks) == len(set(tasks)) == sum(m.counts.rows_out for m in asked)
        assert len(asked) > 1
        assert groups.extra["mixed"] >= 5 > groups.extra["mixed"] - asked[-1].counts.rows_out
        crop = crop_of(ctx.store, 1)
        assert {m.artifact_id for m in crop.rollouts} == {m.artifact_id for m in rollouts}
        assert candidates(ctx.store, crop).num_rows == 4 * len(tasks)


@pytest.mark.parametrize(("bound", "tasks"), [(2, 8), (99, 12)])
def test_a_round_that_cannot_fill_its_batch_stops_at_its_bound_or_with_the_tasks_and_says_so(
    context: Open, ground: Any, bound: int, tasks: int
) -> None:
    never = [*NFT, "engine.scripted.pass_rate={'*'=0.0}", "generate.tasks=4", "generate.mixed_groups=5"]
    with context(*never, f"generate.max_waves={bound}") as ctx:
        asked, rollouts, scores = _round(ctx, ground(ctx))
        assert sum(m.counts.rows_out for m in asked) == tasks
        told = score.group(ctx, asked, rollouts, scores).extra
        assert (told["mixed"], told["wanted"], told["waves"]) == (0, 5, len(asked))
        (first,) = [row for row in rounds(ctx.store) if row["round"] == 1]
        assert (first["tasks"], first["mixed"], first["mixed_wanted"]) == (tasks, 0, 5)


def test_fewer_mixed_groups_wanted_later_takes_the_waves_that_are_not_asked_out_of_the_live_set(
    context: Open, ground: Any
) -> None:
    with context(*NFT, "generate.tasks=4", "generate.mixed_groups=5", "generate.max_waves=9") as ctx:
        asked, rollouts, scores = _round(ctx, ground(ctx))
        score.group(ctx, asked, rollouts, scores)
        askers.drop_unasked(ctx, 1, asked)
        assert len(ctx.store.find("assign", 1)) == len(asked)
        askers.drop_unasked(ctx, 1, asked[:1])
        assert [m.shard for m in ctx.store.find("assign", 1)] == ["train"]
        assert not ctx.store.find("groups", 1)


def test_an_nft_round_without_contrast_stops_before_training_and_says_what_to_do(
    context: Open, ground: Any, harvest: Any
) -> None:
    with context(*NFT, "engine.scripted.pass_rate={'*'=0.0}") as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        made = curate(ctx.store, ctx.recipe, crop)
        with pytest.raises(Refused, match="kept 0 of 48 rollouts, those of groups with right and wrong replies") as caught:
            gate.gate(ctx, crop, made)
        assert '["rft", "nft"]' in caught.value.hint
