"""`co_reward` and `knowrl`: a round of each on the scripted engine, without Prefect and without training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ratoon.pipelines.curation.curate import Crop, curate
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import askers, sample, score
from ratoon.pipelines.rollouts.calibrate_votes import calibrate
from ratoon.pipelines.runtime import records
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.tasks.propose import Made, propose_tasks
from ratoon.sft.data.dataset import read_dataset
from ratoon.store.store import Manifest, Store


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
            prompts, (row, base) = propose.prompts(ctx, pool), records.base(ctx)

            def sampled(asked: Manifest, schemas: Any) -> list[Manifest]:
                return [sample.sample_shard(ctx, s, asked) for s in sample.shards(ctx, asked, row, base, schemas=schemas)]

            for i in range(1, rounds + 1):
                made = propose_tasks(ctx, [pool], made, i, lambda function: function, sampled)
                tasks, asks = [pool, *made.tasks], [prompts, *made.prompts]
                asked = askers.assign_round(ctx, tasks, asks, i)
                rollouts = [sample.sample_shard(ctx, s, asks) for s in sample.shards(ctx, asked, row, base)]
                scores = [score.score_shard(ctx, m, tasks) for m in rollouts]
                crop = Crop(i, tasks, asks, rollouts, scores, score.group(ctx, [asked], rollouts, scores))
                calibrate(ctx, crop)
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


SELF = ["tasks.0.n=12", "splits.eval=4", "splits.probe=2", "propose.arms.0.asks=24", "generate.tasks=20",
        'engine.scripted.pass_rate={"*"=0.85}', "engine.scripted.proposals={duplicates=0.0, malformed=0.1}"]  # fmt: skip


def test_agreement_is_the_reward_and_only_what_was_agreed_on_is_shown_to_the_next_proposer(play: Callable[..., Played]) -> None:
    run = play("knowrl", *SELF, "engine.scripted.styles=['{answer}']", rounds=2)
    tasks = {t["task_id"]: t for t in run.rows("tasks")}
    groups = [g for g in run.rows("groups") if g["label_source"] == "consensus"]
    answers = {s["subject_id"]: s["answer"] for s in run.rows("scores") if s["scorer"] == "consensus"}
    of = {}
    for r in run.rows("rollouts"):
        of.setdefault(r["group_id"], []).append(answers.get(r["rollout_id"]))
    accepted = {g["task_id"]: g["vote"] for g in groups if g["vote_status"] == "accepted"}
    assert {"yes", "no"} <= set(accepted.values())
    for g in groups:
        if g["vote_status"] == "accepted":
            assert g["pass_rate"] == of[g["group_id"]].count(g["vote"]) / 8 >= 0.75
        else:
            assert g["pass_rate"] is None
    first = {t for t, row in tasks.items() if row["iteration"] == 1 and row["source"] == "boundary"}
    shown = {
        p for row in tasks.values() if row["source"] == "boundary" and row["iteration"] == 2 for p in row["parent_ids"] or ()
    }
    assert shown
    assert shown <= first & accepted.keys()
    for row in tasks.values():
        for parent in row["parent_ids"] or ():
            assert accepted[parent] == json.loads(row["meta"])["label"], "examples of a kind are what was voted to be of it"
    assert all(m.counts.rows_out > 0 for m in run.datasets)
    assert not [line for line in run.said if "takes over" in line]


def test_a_model_that_calls_everything_feasible_agrees_perfectly_and_is_warned_of(play: Callable[..., Played]) -> None:
    run = play("knowrl", *SELF, "engine.scripted.styles=['Yes.']")
    assert any("accepted votes say 'yes', more than 90%: one answer takes over" in line for line in run.said)
    (row,) = (m for m in run.rows("measures") if m["metric"] == "consensus/top_answer")
    assert row["value"] == 1.0
    assert json.loads(row["params"])["answer"] == "yes"
