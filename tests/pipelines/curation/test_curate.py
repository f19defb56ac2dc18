"""From stored numbers to a dataset: every rollout decided, no oracle shown, from the same inputs the same dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.errors import DataError, UsageError
from ratoon.metrics.voting.groups import groups
from ratoon.pipelines.curation.curate import candidates, control, crop_of, curate
from ratoon.pipelines.curation.recurate import replay
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import key
from ratoon.sft.data.dataset import read_dataset
from ratoon.store.store import Counts, Manifest, Store

Open = Callable[..., Any]


def test_candidates_are_every_rollout_once_with_numbers_and_no_oracle(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        rows = candidates(ctx.store, crop)
        assert sorted(rows["rollout_id"].to_pylist()) == sorted(
            ctx.store.read("rollouts", crop.rollouts)["rollout_id"].to_pylist()
        )
        assert rows["rollout_id"].to_pylist() == sorted(rows["rollout_id"].to_pylist())
        assert not {"oracle", "gold", "verifier_args"} & set(rows.column_names)
        assert rows["pass_rate"].null_count == 0
        lengths = {r["rollout_id"]: len(r["token_ids"]) for r in ctx.store.read("rollouts", crop.rollouts).to_pylist()}
        assert all(lengths[r["rollout_id"]] == r["n_tokens"] for r in rows.to_pylist())
        assert set(rows["role"].to_pylist()) == {"solver"}


def test_candidates_are_the_same_in_whatever_order_scores_lie(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        assert len(crop.scores) > 1
        turned = replace(crop, scores=crop.scores[::-1])
        assert candidates(ctx.store, turned).equals(candidates(ctx.store, crop))


def test_a_shard_that_comes_twice_with_its_scores_is_refused(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        twice = replace(crop, rollouts=[*crop.rollouts, crop.rollouts[0]], scores=[*crop.scores, crop.scores[0]])
        with pytest.raises(DataError, match="several rows are beside one rollout_id"):
            candidates(ctx.store, twice)


def test_every_rollout_is_decided_until_it_is_dropped_and_the_kept_ones_are_the_dataset(
    context: Open, ground: Any, harvest: Any
) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        made = curate(ctx.store, ctx.recipe, crop)
        decisions = ctx.store.read("decisions", [made]).to_pylist()
        rows = {r["rollout_id"]: r for r in candidates(ctx.store, crop).to_pylist()}
        dropped = [d["subject_id"] for d in decisions if not d["keep"]]
        assert len(dropped) == len(set(dropped)), "dropped once"
        assert {d["subject_id"] for d in decisions} == set(rows)
        assert all(d["reason"] for d in decisions if not d["keep"])
        kept = set(rows) - set(dropped)
        dataset = read_dataset(ctx.store.root / made.extra["folder"])
        assert set(dataset["rollout_id"].to_pylist()) == kept
        assert made.counts.rows_out == len(kept) > 0
        assert made.counts.rows_planned == made.counts.rows_out + made.counts.dropped == len(rows)
        assert {rows[i]["status"] for i in kept} == {"pass"}
        per_task = [rows[i]["task_id"] for i in kept]
        assert max(per_task.count(task) for task in per_task) <= 3


def test_a_control_decided_beside_its_selection_is_the_one_decided_alone(context: Open, ground: Any, harvest: Any) -> None:
    with context("curation.control=true") as ctx:
        crop = harvest(ctx, ground(ctx))
        made = curate(ctx.store, ctx.recipe, crop)
        alone = control(ctx.recipe, made.counts.rows_out)
        alone = alone.model_copy(update={"curation": alone.curation.model_copy(update={"control": False})})
        curate(ctx.store, alone, crop, "alone")
        found = {m.shard: ctx.store.read("decisions", [m]).drop_columns(["curation_id"]) for m in ctx.store.find("curate")}
        assert found["default-control"].equals(found["alone"])
        assert found["alone"].num_rows


def test_a_crop_found_in_the_store_is_the_one_that_was_harvested(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        found = crop_of(ctx.store, 1)
        assert [m.artifact_id for m in found.inputs] == [m.artifact_id for m in crop.inputs]


def test_the_crop_of_a_suite_holds_no_shard_of_one_whose_name_begins_alike(context: Open, ground: Any, harvest: Any) -> None:
    more = ["suites.heldout-hard.split=eval", "suites.heldout-hard.n=1"]
    with context(*more) as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on, 0, "heldout")
        harvest(ctx, on, 0, "heldout-hard")
        found = crop_of(ctx.store, 0, "suite-heldout")
        assert [m.artifact_id for m in found.inputs] == [m.artifact_id for m in crop.inputs]


def test_the_same_filters_find_the_same_dataset_and_others_make_another(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        first = curate(ctx.store, ctx.recipe, crop)
        commits = len(ctx.store.commits())
        assert curate(ctx.store, ctx.recipe, crop) == first
        assert len(ctx.store.commits()) == commits
        stricter = ctx.recipe.model_copy(update={"filters": load("smoke", ["filters.4.k=1"]).filters})
        second = curate(ctx.store, stricter, crop)
        assert second.counts.rows_out < first.counts.rows_out
        assert second.extra["dataset_digest"] != first.extra["dataset_digest"]


def test_switching_back_or_losing_the_folder_restores_the_dataset_that_the_log_names(
    context: Open, ground: Any, harvest: Any
) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        first = curate(ctx.store, ctx.recipe, crop)
        folder = ctx.store.root / first.extra["folder"]
        whole = read_dataset(folder)
        curate(ctx.store, ctx.recipe.model_copy(update={"filters": load("smoke", ["filters.4.k=1"]).filters}), crop)
        assert len(read_dataset(folder)) < len(whole), "one folder a round: the newer curation took it"
        assert curate(ctx.store, ctx.recipe, crop) == first
        assert read_dataset(folder).equals(whole)
        shutil.rmtree(folder)
        assert curate(ctx.store, ctx.recipe, crop) == first
        assert read_dataset(folder).equals(whole)


def test_a_damaged_folder_is_made_again_from_the_store(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        first = curate(ctx.store, ctx.recipe, crop)
        folder = ctx.store.root / first.extra["folder"]
        whole = read_dataset(folder)
        (part,) = (folder / "data").glob("*.parquet")
        part.write_bytes(part.read_bytes()[:-100])
        with pytest.raises(DataError, match="is damaged"):
            read_dataset(folder)
        assert curate(ctx.store, ctx.recipe, crop) == first
        assert read_dataset(folder).equals(whole)
        (folder / "dataset.json").write_text("{")
        assert curate(ctx.store, ctx.recipe, crop) == first
        assert read_dataset(folder).equals(whole)


def test_a_replay_makes_a_dataset_beside_the_runs_own_and_asks_no_model(
    context: Open, ground: Any, harvest: Any, asked: Any, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        own = curate(ctx.store, ctx.recipe, crop)
    before = asked(root)
    (told,) = replay(root, "short", ["filters.4.k=1"])
    store = Store.open(root)
    assert asked(root) == before
    assert store.get(own.artifact_id) == own, "the run's own dataset stays"
    assert told["candidates"] == told["kept"] + told["dropped"] == 48
    assert told["kept"] < own.counts.rows_out
    assert len(read_dataset(Path(told["folder"]))) == told["kept"]
    assert store.config()["filters"][4]["k"] == 3, "the run's recipe stays"
    assert replay(root, "short", ["filters.4.k=1"]) == [told]


def test_a_replay_refuses_the_runs_own_name_a_bad_field_and_a_run_without_a_round(
    context: Open, ground: Any, tmp_path: Path
) -> None:
    with context() as ctx:
        ground(ctx)
    with pytest.raises(UsageError, match="'default' belongs to"):
        replay(tmp_path / "run", "default", [])
    for name in ("../default", "a/b", ".hidden", ""):
        with pytest.raises(UsageError, match="no name of a dataset"):
            replay(tmp_path / "run", name, [])
    with pytest.raises(UsageError, match="unknown key"):
        replay(tmp_path / "run", "x", ["filters.0.nonsense=1"])
    with pytest.raises(DataError, match="no harvested round"):
        replay(tmp_path / "run", "x", [])


def as_role(store: Store, crop: Crop, role: str) -> Crop:
    """The same replies as if another role had given them to prompts of its own, all of them right."""
    asked = store.read("prompts", crop.prompts)
    renamed = {p: f"{p}-{role}" for p in asked["prompt_id"].to_pylist()}
    prompts = asked.set_column(0, "prompt_id", pa.array(renamed.values(), pa.string()))
    rows = [
        r | {"rollout_id": f"{r['rollout_id']}-{role}", "group_id": f"{r['group_id']}-{role}", "role": role,
             "prompt_id": renamed[r["prompt_id"]]}
        for r in store.read("rollouts", crop.rollouts).to_pylist()
    ]  # fmt: skip
    scores = [
        {"subject_kind": "rollout", "subject_id": r["rollout_id"], "scorer": "reward", "version": "1", "repeat": 0,
         "status": "pass", "value": 1.0}
        for r in rows
    ]  # fmt: skip
    tables = {"prompts": prompts, "rollouts": schema.from_rows("rollouts", rows), "scores": schema.from_rows("scores", scores)}
    tables["groups"] = groups(tables["rollouts"], tables["scores"], schema.empty("assignments"), {"reward": "judge"})
    made = {
        name: store.put(
            key(name, 1, f"step-{role}" if name == "groups" else f"step-{role}-0000"),
            {name: table},
            Counts(table.num_rows, table.num_rows),
        )
        for name, table in tables.items()
    }
    return Crop(1, crop.pool, [made["prompts"]], [made["rollouts"]], [made["scores"]], made["groups"])


def test_each_role_is_decided_by_itself_and_what_is_kept_of_all_is_one_dataset(
    context: Open, ground: Any, harvest: Any
) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        critic = as_role(ctx.store, crop, "critic")
        assert (crop.role, critic.role, critic.purpose) == ("solver", "critic", "step-critic")
        alone, both = curate(ctx.store, ctx.recipe, crop, "alone"), curate(ctx.store, ctx.recipe, crop, others=[critic])

        def kept(made: Manifest, role: str) -> set[str]:
            rows = ctx.store.read("examples", [made]).to_pylist()
            return {r for row in rows if row["role"] == role for r in row["rollout_ids"]}

        assert kept(both, "solver") == kept(alone, "solver")
        assert len(kept(both, "critic")) >= len(kept(alone, "solver")), "all its replies are right, so no fewer stay"
        assert both.counts.rows_out == len(kept(both, "solver")) + len(kept(both, "critic"))
        decisions = ctx.store.read("decisions", [both]).to_pylist()
        of = {(d["curation_id"], d["subject_id"].endswith("-critic")) for d in decisions}
        assert len(of) == len({curation for curation, _ in of}) == 2, "no curation decides on replies of two roles"
        rows = read_dataset(ctx.store.root / both.extra["folder"])
        assert set(rows["label_source"].to_pylist()) == {"verifier", "judge"}
