"""The default order over a run's rounds: every row has its reason, earlier rounds count, deciding again measures nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.curation import embed, near_duplicates
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.curation.recurate import replay
from ratoon.pipelines.curation.side_tables import side_tables
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.pipelines.runtime.stage import run_stage
from ratoon.store.store import Store

Open = Callable[..., Any]
FILTERS = (
    'filters=[{kind="lint", repetition_words=1000},{kind="exact_dedup",scope="all"},{kind="decontaminate"},{kind="verified"},'
    '{kind="pass_rate",lo_inclusive=false},{kind="consensus"},{kind="minhash",threshold=0.9},{kind="quality_floor"}]'
)


@pytest.fixture
def two_rounds(context: Open, ground: Any, harvest: Any) -> Callable[..., Any]:
    """Two harvested rounds of one run, its recipe with the default order (no embedding model)."""

    @contextmanager
    def open_run(*sets: str) -> Iterator[tuple[Any, list[Crop]]]:
        with context(FILTERS, "generate.tasks=20", "tasks.0.n=30", "tasks.1.n=30", *sets) as ctx:
            on = ground(ctx)
            yield ctx, [harvest(ctx, on, 1), harvest(ctx, on, 2)]

    return open_run


def test_every_row_ends_with_a_reason_or_in_the_dataset_and_what_was_kept_before_is_dropped_now(two_rounds: Any) -> None:
    with two_rounds() as (ctx, crops):
        made = [curate(ctx.store, ctx.recipe, crop) for crop in crops]
        for crop, one in zip(crops, made, strict=True):
            rows = ctx.store.read("decisions", [one])
            dropped = rows.filter(pc.invert(rows["keep"]))
            assert dropped.num_rows + one.counts.rows_out == one.counts.rows_planned
            assert dropped["reason"].null_count == 0
            assert crop.iteration == one.iteration
        kept = [set(ctx.store.read("examples", [m])["rollout_ids"].combine_chunks().flatten().to_pylist()) for m in made]
        last = ctx.store.read("decisions", [made[1]]).to_pylist()
        past = [r for r in last if r["reason"] == "near_duplicate:past"]
        assert past, "the scripted engine says the same in both rounds"
        assert all(r["evidence_id"] in kept[0] for r in past)
        commits = len(ctx.store.commits())
        assert curate(ctx.store, ctx.recipe, crops[1]).artifact_id == made[1].artifact_id
        assert len(ctx.store.commits()) == commits


def test_deciding_anew_finds_what_was_measured_and_leaves_the_first_dataset_alone(two_rounds: Any) -> None:
    with two_rounds() as (ctx, crops):
        first = [curate(ctx.store, ctx.recipe, crop) for crop in crops]
        root, shards = ctx.store.root, len(ctx.store.find("lint"))
    told = replay(root, "strict", ["filters.6.threshold=0.6", "filters.7.share=0.5", "curation.control=true"])
    assert [t["round"] for t in told if t["dataset"] == "strict"] == [1, 2]
    control = {t["round"]: t for t in told if t["dataset"] == "strict-control"}
    assert {r: t["kept"] for r, t in control.items()} == {t["round"]: t["kept"] for t in told if t["dataset"] == "strict"}
    other = replay(root, "words", ["curation.minhash.size=3"])
    store = Store.open(root)
    assert {m.artifact_id for m in first} <= set(store.live())
    assert {m.iteration for m in store.find("lint")} == {1, 2}
    assert len(store.find("lint")) == shards
    assert len(store.find("near")) == 4, "two of either size of shingles"
    assert other[0]["candidates"] == told[0]["candidates"]


def test_a_planted_test_item_is_found_in_a_reply_and_the_benchmark_stays_as_it_was_first_read(
    two_rounds: Any, tmp_path: Path
) -> None:
    bench = tmp_path / "bench.jsonl"
    with two_rounds(f"curation.against=[{str(bench)!r}]") as (ctx, crops):
        rows = ctx.store.read("rollouts", crops[0].rollouts)
        said = next(text for text in rows["text"].to_pylist() if text and len(text) > 3)
        bench.write_text(json.dumps({"question": said, "answer": "none"}) + "\n")
        made = curate(ctx.store, ctx.recipe, crops[0])
        decisions = [r for r in ctx.store.read("decisions", [made]).to_pylist() if r["reason"] == "contaminated:exact"]
        assert {r["evidence_id"] for r in decisions} == {"bench.jsonl/bench.jsonl:1:question"}
        frozen = ctx.store.find("benchmarks")[0]
        bench.write_text(json.dumps({"question": "another", "answer": "none"}) + "\n")
        curate(ctx.store, ctx.recipe, crops[1])
        assert [m.content_digest for m in ctx.store.find("benchmarks")] == [frozen.content_digest]


def test_a_review_names_what_is_near_a_held_out_question_and_drops_nothing(two_rounds: Any, tmp_path: Path) -> None:
    bench = tmp_path / "bench.jsonl"
    with two_rounds() as (ctx, crops):
        crop = crops[0]
        plain = ctx.store.read("decisions", [curate(ctx.store, ctx.recipe, crop)])
        task = ctx.store.read("tasks", crop.pool).filter(pc.field("split") == "train").to_pylist()[0]
        asked = task["messages"][-1]["content"]
        bench.write_text(json.dumps({"question": f"Tell me, please: {asked}"}) + "\n")
        config = ctx.recipe.curation.model_copy(update={"against": (str(bench),), "review": 0.85, "cache": str(tmp_path)})
        recipe = ctx.recipe.model_copy(update={"curation": config})
        again = ctx.store.read("decisions", [curate(ctx.store, recipe, crop, "reviewed")])
        assert again["keep"].equals(plain["keep"])
        (made,) = ctx.store.find("review")
        edges = ctx.store.read("edges", [made]).to_pylist()
        assert {"kind": "review", "a_id": task["task_id"], "b_id": "bench.jsonl/bench.jsonl:1:question"}.items() <= next(
            e.items() for e in edges if e["a_id"] == task["task_id"] and e["b_id"].startswith("bench")
        )
        assert all(e["similarity"] >= 0.85 for e in edges)
        report = auditing.audit(ctx.store.root, None, config=AuditConfig(tier="cheap"), iteration=1).report
        told = {w["code"]: w for w in report["warnings"]}["near_evaluation"]
        assert told["severity"] == "note"
        assert told["row_ids"]


def test_the_twins_of_an_audit_are_of_every_kind_however_many_copies_there_are(two_rounds: Any) -> None:
    with two_rounds() as (ctx, crops):
        made = [curate(ctx.store, ctx.recipe, crop) for crop in crops]
        dropped = ctx.store.read("decisions", [made[1]])
        near = [r for r in dropped.to_pylist() if r["filter"] == "minhash" and not r["keep"]]
        assert near
        found = audit_run.twins(ctx.store, 2, 2)
        assert {t["kind"] for t in found} == {"exact", "minhash"}
        assert len(audit_run.twins(ctx.store, 2, 1000)) == sum(
            not r["keep"] and r["evidence_id"] is not None and r["filter"] in ("exact_dedup", "minhash")
            for r in dropped.to_pylist()
        )


def test_another_runs_texts_count_as_earlier_ones(two_rounds: Any, tmp_path: Path) -> None:
    with two_rounds() as (ctx, crops):
        first = curate(ctx.store, ctx.recipe, crops[0])
        run_id, root = ctx.store.run_id, ctx.store.root
    there = root.rename(tmp_path / "other")
    with two_rounds(f"curation.runs=[{str(there)!r}]") as (ctx, crops):
        made = curate(ctx.store, ctx.recipe, crops[0])
        past = [r for r in ctx.store.read("decisions", [made]).to_pylist() if r["reason"] == "near_duplicate:past"]
        assert first.counts.rows_out == len(past), "the same run again: all it kept is known"
        assert all(r["evidence_id"].startswith(f"{run_id}/") for r in past)


def test_each_round_is_looked_up_once_when_later_rounds_are_compared_with_it(
    context: Open, ground: Any, harvest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int | None]] = []

    def counted(store: Store, wanted: Any, build: Any) -> Any:
        asked.append((wanted.stage, wanted.iteration))
        return run_stage(store, wanted, build)

    for module in (embed, near_duplicates):
        monkeypatch.setattr(module, "run_stage", counted)
    with context("generate.tasks=2", "generate.n=2") as ctx:
        on = ground(ctx)
        for iteration in range(1, 6):
            crop = harvest(ctx, on, iteration)
            asked.clear()
            artifacts = side_tables(ctx.store, ctx.recipe.curation, crop, "default", {"minhash", "semantic"})
            assert [m.iteration for m in artifacts.edges] == [*range(1, iteration + 1)] * 2
            assert Counter(asked) == {(stage, r): 1 for stage in ("near", "embed", "like") for r in range(1, iteration + 1)}
        near = [m for m in artifacts.edges if m.stage == "near"]
        assert [{m.artifact_id for m in near} & set(one.key.inputs) for one in near] == [
            {m.artifact_id for m in near[:number]} for number in range(5)
        ], "a round is compared with every round before it"


def test_shards_change_neither_edges_nor_what_is_kept(context: Open, ground: Any, harvest: Any, tmp_path: Path) -> None:
    found = set()
    for size in (2, 5, 40):
        with context(FILTERS, f"run.shard_size={size}", "generate.tasks=20", "tasks.0.n=30", "tasks.1.n=30") as ctx:
            crop = harvest(ctx, ground(ctx), 1)
            made = curate(ctx.store, ctx.recipe, crop)
            [near] = near_duplicates.near_pairs(ctx.store, ctx.recipe.curation, [crop_of(ctx.store, 1)])
            kept = sorted(ctx.store.read("examples", [made])["rollout_ids"].combine_chunks().flatten().to_pylist())
            found.add((near.digests["edges"], hashlib.sha256(json.dumps(kept).encode()).hexdigest()))
            ctx.store.root.rename(tmp_path / f"done-{size}")
    assert len(found) == 1
