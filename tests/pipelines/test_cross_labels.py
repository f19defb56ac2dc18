"""`co_reward` and `knowrl`: a round of each on the scripted engine, without Prefect and without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ratoon.pipelines import propose, sample, score
from ratoon.pipelines.curate import Crop, curate
from ratoon.pipelines.proposing import Made, propose_tasks
from ratoon.pipelines.recipe import load
from ratoon.pipelines.start import opened
from ratoon.sft.dataset import read_dataset
from ratoon.store import Manifest, Store


class Played(NamedTuple):
    """The store after some rounds, and what was said on the way."""

    store: Store
    said: list[str]
    datasets: list[Manifest]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.store.read(table).to_pylist()


@pytest.fixture
def play(tmp_path: Path, tiny_model: Path) -> Callable[..., Played]:
    """`play("co_reward", "generate.tasks=8", rounds=2)`: rounds of a shipped recipe on the scripted engine; no training."""

    def run(recipe: str, *sets: str, rounds: int = 1) -> Played:
        small = ["model.kind=path", f"model.path={str(tiny_model)!r}", "engine.kind=scripted", "run.shard_size=16",
                 "propose.sampling.max_tokens=600", "sampling.max_tokens=200", *sets]  # fmt: skip
        said: list[str] = []
        with opened(tmp_path / "run", load(recipe, small), quiet=True) as ctx:
            ctx.progress.say = said.append
            pool, datasets, made = propose.tasks(ctx), [], Made([], [])
            prompts, (row, base) = propose.prompts(ctx, pool), propose.base(ctx)

            def sampled(asked: Manifest, schemas: Any) -> list[Manifest]:
                return [sample.sample_shard(ctx, s, asked) for s in sample.shards(ctx, asked, row, base, schemas=schemas)]

            for i in range(1, rounds + 1):
                made = propose_tasks(ctx, [pool], made, i, lambda function: function, sampled)
                tasks, asks = [pool, *made.tasks], [prompts, *made.prompts]
                asked = sample.assign_round(ctx, tasks, asks, i)
                rollouts = [sample.sample_shard(ctx, s, asks) for s in sample.shards(ctx, asked, row, base)]
                scores = [score.score_shard(ctx, m, tasks) for m in rollouts]
                crop = Crop(i, tasks, asks, rollouts, scores, score.group(ctx, [asked], rollouts, scores))
                datasets.append(curate(ctx.store, ctx.recipe, crop))
        return Played(Store.open(tmp_path / "run"), said, datasets)

    return run


TWINS = ["tasks.0.n=30", "tasks.1.n=30", "splits.eval=4", "splits.probe=2", "propose.arms.0.asks=24", "generate.tasks=24",
         'engine.scripted.pass_rate={"*"=0.85}', "engine.scripted.proposals={changed=0.3, malformed=0.0}"]  # fmt: skip


def test_twins_are_asked_together_label_each_other_and_a_changed_one_is_dropped_and_counted(
    play: Callable[..., Played],
) -> None:
    run = play("co_reward", *TWINS)
    tasks = {t["task_id"]: t for t in run.rows("tasks")}
    groups = {g["task_id"]: g for g in run.rows("groups")}
    pairs = [(t, p) for t in groups if (p := (tasks[t]["parent_ids"] or [None])[0]) is not None]
    assert len(pairs) > 10
    assert {p for _, p in pairs} | {t for t, _ in pairs} == set(groups), "a parent is asked with its twin, and nobody else"
    both = Counter()
    for twin, parent in pairs:
        one, other = groups[twin], groups[parent]
        assert (one["vote_status"] == "accepted") == (other["vote_status"] == "accepted")
        if one["vote_status"] == "accepted":
            assert one["vote"] == other["vote"]
        if "twin_changed" in (one["vote_status"], other["vote_status"]):
            assert one["vote"] != other["vote"]
        both[one["vote_status"]] += 1
    assert both["accepted"] > 3
    assert both["twin_changed"] > 0
    told = {m["metric"]: m for m in run.rows("measures") if m["metric"].startswith("consensus/twin")}
    assert told["consensus/twin_changed"]["value"] == pytest.approx(
        2 * both["twin_changed"] / told["consensus/twin_changed"]["n"]
    )
    (made,) = run.datasets
    kept = {r["task_id"] for r in read_dataset(run.store.root / made.extra["folder"]).to_pylist()}
    assert kept
    assert kept <= {t for t, g in groups.items() if g["vote_status"] == "accepted"}
    assert {tasks[t]["answer"] for t in groups} == {None}, "no gold reaches a label"
