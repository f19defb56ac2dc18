"""What a finished run holds, read from its folder alone; and what another start of it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import sql
from ratoon.render import Renderer
from ratoon.sft.data.dataset import read_dataset
from ratoon.store.store import Store

Start = Callable[..., Any]
Asked = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def store(smoke_run: Path) -> Store:
    return Store.open(smoke_run)


def content(root: Path) -> dict[tuple[Any, ...], tuple[str, str]]:
    return {(m.stage, m.iteration, m.shard): (m.artifact_id, m.content_digest) for m in Store.open(root).live().values()}


def one(store: Store, query: str) -> Any:
    return sql.query(store, query).to_pylist()[0]


def test_no_held_out_problem_is_ever_trained_on(store: Store, smoke_run: Path) -> None:
    rows = sql.query(store, "select problem_key, split, task_id from tasks").to_pylist()
    held = {r["problem_key"] for r in rows if r["split"] in ("eval", "probe")}
    trained = {r["problem_key"] for r in rows if r["split"] == "train"}
    assert held
    assert trained
    assert not held & trained
    keys = {r["task_id"]: r["problem_key"] for r in rows}
    asked = sql.query(store, "select task_id from assignments where purpose = 'train'")["task_id"].to_pylist()
    used = sql.query(store, "select task_id from examples")["task_id"].to_pylist()
    in_files = [t for i in (1, 2) for t in read_dataset(smoke_run / f"datasets/default/{i}")["task_id"].to_pylist()]
    assert used
    assert not {keys[t] for t in (*asked, *used, *in_files)} & held


def test_no_held_out_question_is_in_a_training_prompt(store: Store) -> None:
    query = """
        select count(*) filter (where t.split <> 'train') as held, count(*) as n
        from rollouts r join tasks t using (task_id) join assignments a
          on a.task_id = r.task_id and a.iteration = r.iteration and a.sampling_id = r.sampling_id
        where a.purpose = 'train'"""
    found = one(store, query)
    assert found["n"] == 2 * 48 * 4
    assert found["held"] == 0


def test_every_rollout_carries_a_log_prob_and_a_mask_for_each_of_its_tokens(store: Store) -> None:
    rows = store.read("rollouts", columns=["token_ids", "logprobs", "loss_mask", "error"]).to_pylist()
    assert len(rows) > 500
    for row in rows:
        assert row["error"] is None
        assert len(row["token_ids"]) == len(row["logprobs"]) == len(row["loss_mask"]) > 0
        assert set(row["loss_mask"]) == {1}


def test_the_stored_text_is_what_the_stored_ids_say_and_ends_its_turn_iff_it_stopped(store: Store, smoke_run: Path) -> None:
    renderer = Renderer(next((smoke_run / "models").iterdir()))
    reasons = set()
    for row in store.read("rollouts", columns=["token_ids", "text", "finish_reason"]).to_pylist():
        ended = row["token_ids"][-1] in renderer.end_of_turn_ids
        assert ended == (row["finish_reason"] == "stop")
        assert renderer.decode(row["token_ids"][:-1] if ended else row["token_ids"]) == row["text"]
        reasons.add(row["finish_reason"])
    assert reasons == {"stop", "length"}


def test_the_work_is_cut_into_shards_and_committed_step_by_step(store: Store) -> None:
    assert len(store.commits()) >= 8
    shards = [m.shard for m in store.find("rollouts", 1) if (m.shard or "").startswith("train-")]
    assert len(shards) == 3
    assert all(len(commit.add) == 1 for commit in store.commits())


def test_every_rollout_is_in_one_group_and_every_artifact_accounts_for_its_rows(store: Store) -> None:
    assert one(store, "select sum(n) as n from groups")["n"] == store.read("rollouts", columns=["rollout_id"]).num_rows
    for manifest in store.live().values():
        counts = manifest.counts
        assert counts.rows_planned == counts.rows_out + counts.dropped + counts.failed


def test_training_moved_the_weights_each_round(store: Store) -> None:
    rows = store.read("policies").sort_by("iteration").to_pylist()
    assert [r["iteration"] for r in rows] == [0, 1, 2]
    assert len({r["weights_digest"] for r in rows}) == 3
    assert [r["parent_policy_id"] for r in rows] == [None, rows[0]["policy_id"], rows[1]["policy_id"]]


def test_every_policy_is_evaluated_on_the_same_tasks_and_compared_with_the_base(store: Store) -> None:
    asked = [set(store.read("assignments", [m])["task_id"].to_pylist()) for m in store.find("assign") if m.shard != "train"]
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]
    rows = sql.query(store, "select iteration, metric from evals where against_policy_id is not null").to_pylist()
    assert {r["iteration"] for r in rows if r["metric"] == "pass@1_diff"} == {1, 2}


def test_a_finished_run_started_again_does_nothing_and_is_quick(here: Start, smoke_copy: Path, asked: Asked) -> None:
    before, requests = len(Store.open(smoke_copy).commits()), asked(smoke_copy)
    began = time.process_time()
    told = here("run", "smoke", "--run", smoke_copy, "--quiet")
    assert told.code == 0, told.err
    assert time.process_time() - began < 15, "CPU seconds, an import of Prefect and the closing report included"
    assert len(Store.open(smoke_copy).commits()) == before
    assert asked(smoke_copy) == requests


def test_editing_a_filter_asks_nothing_again_and_switching_it_back_revives_everything(
    here: Start, smoke_copy: Path, asked: Asked
) -> None:
    whole, requests = content(smoke_copy), asked(smoke_copy)
    edited = ["--set", "filters.4.k=1", "--set", "train.min_examples=1000"]  # stops before it trains
    told = here("run", "smoke", "--run", smoke_copy, "--quiet", *edited)
    assert told.code == 3, told.err
    assert asked(smoke_copy) == requests
    now = content(smoke_copy)
    assert now["curate", 1, "default"] != whole["curate", 1, "default"]
    assert not any(slot[0] == "policy" for slot in now), "what was made from the old dataset left with it"
    assert {slot: v for slot, v in now.items() if slot[1] in (0, None)} == {s: v for s, v in whole.items() if s[1] in (0, None)}
    told = here("run", "smoke", "--run", smoke_copy, "--quiet")
    assert told.code == 0, told.err
    assert asked(smoke_copy) == requests
    assert content(smoke_copy) == whole


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_more_iterations_go_on_from_where_the_run_ended(here: Start, smoke_copy: Path, asked: Asked) -> None:
    whole, requests = content(smoke_copy), asked(smoke_copy)
    told = here("run", "smoke", "--run", smoke_copy, "--quiet", "--iterations", "3")
    assert told.code == 0, told.err
    now = content(smoke_copy)
    assert {slot: now[slot] for slot in whole} == whole
    assert {slot[1] for slot in now.keys() - whole.keys()} == {3}
    assert not set(asked(smoke_copy)[len(requests) :]) & set(requests)
    assert [r["iteration"] for r in Store.open(smoke_copy).read("policies").sort_by("iteration").to_pylist()] == [0, 1, 2, 3]


def test_a_finished_run_is_evaluated_on_another_suite(here: Start, smoke_copy: Path) -> None:
    told = here("eval", smoke_copy, "--suite", "other", "--set", "suites.other.split=probe", "--set", "suites.other.n=2", "-q")
    assert told.code == 0, told.err
    assert "pass@1_diff" in told.out
    asked = Store.open(smoke_copy).read("evals", columns=["suite", "iteration"]).to_pylist()
    assert {row["iteration"] for row in asked if row["suite"] == "other"} == {0, 2}
