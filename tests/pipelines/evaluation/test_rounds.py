"""The measure stage: every rollout linted, rounds and datasets measured, sums that merge, nothing measured twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon.errors import DataError
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.measures import read
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.evaluation import rounds as qdc
from ratoon.pipelines.evaluation.remeasure import remeasure
from ratoon.pipelines.views.summary import headlines
from ratoon.store.store import Store

Open = Callable[..., Any]


def test_a_round_and_its_dataset_are_measured_from_sums_that_merge(context: Open, ground: Any, harvest: Any) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        linted = linting.lint(ctx.store, crop)
        curated = curate(ctx.store, ctx.recipe, crop)
        made = qdc.measure(ctx.store, ctx.recipe, crop, curated, linted)

        rollouts = ctx.store.read("rollouts", crop.rollouts)
        lint = ctx.store.read("lint", linted)
        assert sorted(lint["rollout_id"].to_pylist()) == sorted(rollouts["rollout_id"].to_pylist())
        rows = ctx.store.read("measures", [made])
        scopes = set(zip(rows["scope_kind"].to_pylist(), rows["scope_id"].to_pylist(), strict=True))
        assert scopes == {("iteration", "1"), ("dataset", curated.extra["dataset_id"])}
        of_round = {m.metric: m for m in read(rows.filter(pa.compute.equal(rows["scope_kind"], "iteration")))}
        texts = rollouts["text"].to_pylist()
        assert of_round["complexity.chars"].value == pytest.approx(sum(map(len, texts)) / len(texts))
        assert of_round["complexity.chars"].n == len(texts)
        assert of_round["diversity.duplicates"].value == pytest.approx(1 - len(set(texts)) / len(texts))
        groups = ctx.store.read("groups", [crop.groups]).to_pylist()
        passed, valid = sum(g["n_passed"] for g in groups), sum(g["n_valid"] for g in groups)
        assert of_round["quality.pass_rate"].value == pytest.approx(passed / valid)
        merged = sketches.merge(sketches.read(ctx.store.read("sketches", linted)))
        stored = {s.name: s for s in sketches.read(ctx.store.read("sketches", [made])) if s.name == "mean.chars"}
        assert next(s.n for s in merged if s.name == "mean.chars") == len(texts)
        assert stored

        commits = len(ctx.store.commits())
        assert qdc.measure(ctx.store, ctx.recipe, crop, curated, linting.lint(ctx.store, crop)) == made
        assert len(ctx.store.commits()) == commits, "found, not made again"
        found = headlines(ctx.store)
        assert [(row["round"], row["of"]) for row in found] == [(1, "round"), (1, "dataset")]
        assert found[0]["pass"]["value"] == pytest.approx(passed / valid)
        assert found[0]["vendi"] is None
        assert ctx.store.verify() == []


@pytest.mark.slow
def test_the_medium_tier_embeds_a_sample_on_a_map_that_the_first_round_froze(
    context: Open, ground: Any, harvest: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RATOON_CACHE", str(tmp_path / "cache"))
    with context("measure.tier=medium", "measure.sample=24", "measure.clusters=6", "measure.draws=3") as ctx:
        on = ground(ctx)
        for iteration in (1, 2):
            crop = harvest(ctx, on, iteration)
            curated = curate(ctx.store, ctx.recipe, crop)
            qdc.measure(ctx.store, ctx.recipe, crop, curated, linting.lint(ctx.store, crop))
        assert len(ctx.store.find("map")) == 1
        rows = ctx.store.read("measures", ctx.store.find("measure", 2))
        found = {m.metric: m for m in read(rows.filter(pa.compute.equal(rows["scope_kind"], "iteration")))}
        assert {
            "diversity.vendi",
            "diversity.rke",
            "diversity.alpha",
            "diversity.task_vendi",
            "diversity.novelty",
            "qd.score",
        } <= set(found)
        assert found["diversity.vendi"].params["model"].startswith("embed_")
        gram = next(s for s in sketches.read(ctx.store.read("sketches", ctx.store.find("measure", 2))) if s.kind == "gram")
        assert gram.n <= 24
    monkeypatch.setenv("RATOON_CACHE", str(tmp_path / "empty"))
    again = remeasure(ctx.store.root, ["measure.tier=cheap"])
    assert [row["vendi"] for row in again] == [None] * 4, "a cheaper tier replaces the dearer one"


def test_a_run_without_a_round_cannot_be_measured(context: Open, ground: Any) -> None:
    with context() as ctx:
        ground(ctx)
    with pytest.raises(DataError, match="no harvested round"):
        remeasure(ctx.store.root, [])
    assert headlines(Store.open(ctx.store.root)) == []
