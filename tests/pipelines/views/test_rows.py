"""Rows as a person reads them, one id through every table, and a run in numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import UsageError
from ratoon.filters.random_n import RandomNConfig
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.evaluation.policies import evals
from ratoon.pipelines.views.rows import explain, show
from ratoon.pipelines.views.summary import rounds, stages
from ratoon.store.store import Store

Open = Callable[..., Any]


@pytest.fixture
def run(context: Open, ground: Any, harvest: Any, tmp_path: Path) -> Store:
    """One harvested and curated round of the base, and its evaluation; some rollouts failed."""
    with context("engine.scripted.errors=0.1", "verify.max_unjudged=1.0") as ctx:
        on = ground(ctx)
        evals(ctx, harvest(ctx, on, 0, "heldout"), on.base, "heldout")
        curate(ctx.store, ctx.recipe, harvest(ctx, on))
    return Store.open(tmp_path / "run")


def test_each_choice_shows_its_own_rows_and_no_more_than_asked(run: Store) -> None:
    kept, dropped, failed = (show(run, which, 1000) for which in ("kept", "dropped", "failed"))
    made = run.find("curate")[0].counts
    assert (len(kept), len(dropped)) == (made.rows_out, made.dropped)
    assert len(failed) == run.read("failures").num_rows > 0
    assert all(row["keep"] for row in kept)
    assert all(not row["keep"] and row["reason"] and row["filter"] for row in dropped)
    assert all(row["error"] for row in failed)
    assert {r["rollout_id"] for r in kept}.isdisjoint(r["rollout_id"] for r in dropped)
    assert len(show(run, "any", 3)) == 3
    assert len(show(run, "any", 1000)) == run.read("rollouts").num_rows, "no rollout twice"


def test_a_curation_of_another_name_changes_neither_what_is_shown_nor_what_a_round_counts(
    context: Open, ground: Any, harvest: Any, tmp_path: Path
) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        curate(ctx.store, ctx.recipe, crop, "strict-only")
        (only,) = ctx.store.find("curate")
        assert len(show(ctx.store, "kept", 1000)) == only.counts.rows_out > 0, "it is the only one"
        mine = curate(ctx.store, ctx.recipe, crop)
        strict = ctx.recipe.model_copy(update={"filters": [RandomNConfig(kind="random_n", n=1)]})
        other = curate(ctx.store, strict, crop, "default2")
        assert other.counts.rows_out == 1 < mine.counts.rows_out
        assert len(show(ctx.store, "kept", 1000)) == mine.counts.rows_out
        assert rounds(ctx.store)[-1]["kept"] == mine.counts.rows_out


def test_a_shown_row_has_its_prompt_gold_verdict_and_pass_rate(run: Store) -> None:
    (row,) = show(run, "kept", 1)
    assert row["prompt"][-1]["role"] == "user"
    assert row["status"] == "pass"
    assert row["answer"] == row["gold"]
    assert 0 < row["pass_rate"] <= 1


def test_an_unknown_choice_is_refused(run: Store) -> None:
    with pytest.raises(UsageError, match="cannot show 'all'"):
        show(run, "all", 1)


def test_an_id_is_explained_through_every_table_that_names_it(run: Store) -> None:
    (row,) = show(run, "kept", 1)
    found = explain(run, row["rollout_id"])
    assert {"tasks", "prompts", "policies", "samplings", "rollouts", "scores", "groups", "decisions", "examples"} <= set(found)
    assert [r["rollout_id"] for r in found["rollouts"]] == [row["rollout_id"]]
    assert {r["subject_id"] for r in found["decisions"]} == {row["rollout_id"]}
    assert all(row["rollout_id"] in r["rollout_ids"] for r in found["examples"])
    assert len(found["tasks"]) == len(found["groups"]) == 1


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(run: Store) -> None:
    (row,) = show(run, "kept", 1)
    assert explain(run, row["rollout_id"][:12]) == explain(run, row["rollout_id"])
    with pytest.raises(UsageError, match="ids begin with 'r_'"):
        explain(run, "r_")
    with pytest.raises(UsageError, match="no id of this run begins with 'zzz'"):
        explain(run, "zzz")


def test_rounds_count_what_the_tables_hold_and_leave_unknown_null(run: Store) -> None:
    base, first = rounds(run)
    assert (base["round"], first["round"]) == (0, 1)
    assert base["rollouts"] is None
    assert base["gain"] is None
    assert base["pass@1"]["lo"] <= base["pass@1"]["value"] <= base["pass@1"]["hi"]
    assert base["pass@1"]["n_tasks"] == len({r["task_id"] for r in run.read("assignments").to_pylist() if r["iteration"] == 0})
    assert (first["tasks"], first["rollouts"]) == (12, 48)
    assert first["kept"] == run.find("curate")[0].counts.rows_out
    assert first["trained_tokens"] is None
    assert first["pass@1"] is None
    scored = [r for r in run.read("scores", run.find("scores", 1)).to_pylist() if r["status"] in ("pass", "fail")]
    assert first["pass_rate"] == pytest.approx(sum(r["status"] == "pass" for r in scored) / len(scored))


def test_stages_add_up_their_shards(run: Store) -> None:
    by_stage = {(row["iteration"], row["stage"]): row for row in stages(run)}
    row = by_stage[1, "rollouts"]
    assert row["shards"] == len(run.find("rollouts", 1)) == 2
    assert row["planned"] == 48 == row["out"] + row["failed"]
    rollouts = run.read("rollouts", run.find("rollouts", 1)).to_pylist()
    assert row["sampled_tokens"] == sum(len(r["token_ids"] or ()) for r in rollouts)
