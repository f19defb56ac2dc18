"""From stored numbers to a dataset: candidates, decisions, examples, folder. No model is asked; Prefect is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, sql
from ratoon.config import Config, semantic
from ratoon.filters.decide import decide, survivors, versions
from ratoon.pipelines.recipe import Recipe
from ratoon.pipelines.stage import Built, key, run_stage
from ratoon.sft import dataset as datasets
from ratoon.sft import examples
from ratoon.store import ArtifactKey, Counts, Manifest, Store

_CANDIDATES = """
select r.rollout_id, r.group_id, r.task_id, r.prompt_id, t.problem_key, t.family, t.level, r.iteration, r.text,
       r.n_tokens, r.finish_reason, r.error, s.status, s.detail, s.answer, s.value,
       g.pass_rate, g.pass_lo, g.pass_hi, g.n, g.n_valid, g.n_passed, g.label_source
from rollouts r
left join scores s on s.subject_id = r.rollout_id and s.subject_kind = 'rollout'
left join groups g on g.group_id = r.group_id
left join tasks t on t.task_id = r.task_id
order by r.rollout_id
"""
_PROJECTED = ["rollout_id", "group_id", "task_id", "prompt_id", "iteration", "text", "finish_reason", "error", "token_ids"]


@dataclass(frozen=True)
class Crop:
    """What one round harvested: the manifests that a curation reads."""

    iteration: int
    pool: Sequence[Manifest]
    prompts: Sequence[Manifest]
    rollouts: Sequence[Manifest]
    scores: Sequence[Manifest]
    groups: Manifest

    @property
    def inputs(self) -> list[Manifest]:
        return [*self.pool, *self.prompts, *self.rollouts, *self.scores, self.groups]


def crop_of(store: Store, iteration: int, purpose: str = "train") -> Crop:
    """The live manifests of one harvest: a round's training rollouts, or `suite-NAME`."""

    def shards(stage: str) -> list[Manifest]:
        found = (m for m in store.find(stage, iteration) if (m.shard or "").startswith(f"{purpose}-"))
        return sorted(found, key=lambda m: m.shard or "")

    groups = next(m for m in store.find("groups", iteration) if m.shard == purpose)
    pool, prompts = _asked_of(store, iteration, purpose)
    return Crop(iteration, pool, prompts, shards("rollouts"), shards("scores"), groups)


def _asked_of(store: Store, iteration: int, purpose: str) -> tuple[list[Manifest], list[Manifest]]:
    """The tasks and prompts a harvest's assignments were made from: an import brings its own."""
    live = store.live()
    asked = next(m for m in store.find("assign", iteration) if m.shard == purpose)
    inputs = [live[i] for i in asked.key.inputs if i in live]
    found = ([m for m in inputs if m.stage == stage] for stage in ("tasks", "prompts"))
    pool, prompts = (m or [store.find(stage)[-1]] for m, stage in zip(found, ("tasks", "prompts"), strict=True))
    return pool, prompts


def curate(store: Store, recipe: Recipe, crop: Crop, name: str = "default") -> Manifest:
    """Decisions on every rollout of a crop, and the dataset of those kept in every step, in one commit."""
    config = {"filters": semantic(recipe.filters)}
    wanted = key("curate", crop.iteration, name, config=config, inputs=crop.inputs, versions=versions(_steps(recipe)))
    return run_stage(store, wanted, lambda: _curate(store, recipe, crop, name, wanted))


def _curate(store: Store, recipe: Recipe, crop: Crop, name: str, wanted: ArtifactKey) -> Built:
    curation_id = ids.content_id("curation", wanted.artifact_id)
    dataset_id = ids.content_id("dataset", wanted.artifact_id)
    rows = candidates(store, crop)
    decisions = decide(rows, _steps(recipe), curation_id)
    kept = survivors(rows, decisions)
    made, dataset = examples.build(
        _full(store, crop, kept), store.read("prompts", crop.prompts), store.read("samplings"),
        store.read("groups", [crop.groups]), store.read("scores", crop.scores), dataset_id=dataset_id,
    )  # fmt: skip
    info = datasets.DatasetInfo(dataset_id, name, crop.iteration, store.run_id, _made(recipe, decisions, rows.num_rows))
    folder = datasets.write_dataset(store.root, name, crop.iteration, dataset, info)
    extra = {
        "dataset": f"{name}/{crop.iteration}",
        "dataset_id": dataset_id,
        "curation_id": curation_id,
        "dataset_digest": datasets.content_digest(dataset),
        "folder": folder.relative_to(store.root).as_posix(),
    }
    counts = Counts(rows.num_rows, kept.num_rows, dropped=rows.num_rows - kept.num_rows)
    return Built({"decisions": decisions, "examples": made}, counts, extra)


def candidates(store: Store, crop: Crop) -> pa.Table:
    """One row a rollout with what filters may look at; never the oracle."""
    rows = store.read("rollouts", crop.rollouts, columns=_PROJECTED)
    rows = rows.append_column("n_tokens", pc.list_value_length(rows["token_ids"])).drop_columns(["token_ids"])
    tables = {
        "rollouts": rows,
        "scores": store.read("scores", crop.scores),
        "groups": store.read("groups", [crop.groups]),
        "tasks": store.read("tasks", crop.pool, columns=["task_id", "problem_key", "family", "level"]),
    }
    return sql.over(tables, _CANDIDATES)


def _steps(recipe: Recipe) -> list[tuple[str, Config]]:
    return [(f.kind, f) for f in recipe.filters]


def _full(store: Store, crop: Crop, kept: pa.Table) -> pa.Table:
    wanted = kept["rollout_id"].combine_chunks()
    batches = store.scan("rollouts", crop.rollouts)
    parts = [pa.Table.from_batches([b]) for b in batches]
    rows = [part.filter(pc.is_in(part["rollout_id"], value_set=wanted)) for part in parts]
    return pa.concat_tables(rows)


def _made(recipe: Recipe, decisions: pa.Table, candidates: int) -> dict[str, Any]:
    """How the rows were chosen: for the card."""
    dropped = decisions.filter(pc.invert(decisions["keep"]))
    reasons = {c["values"]: c["counts"] for c in pc.value_counts(dropped["reason"].combine_chunks()).to_pylist()}
    return {
        "recipe": recipe.run.name, "seed": recipe.run.seed, "candidates": candidates, "dropped": dict(sorted(reasons.items())),
        "filters": semantic(recipe.filters), "sampling": semantic(recipe.sampling), "model": semantic(recipe.model),
    }  # fmt: skip
