"""From stored numbers to a dataset: candidates, decisions, examples, folder. No model is asked; Prefect is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import Config, semantic
from ratoon.errors import DataError
from ratoon.filters.decide import decide, survivors, versions
from ratoon.pipelines.recipe import Recipe
from ratoon.pipelines.stage import Built, key, release, run_stage, shard_of
from ratoon.sft import dataset as datasets
from ratoon.sft import examples
from ratoon.store import ArtifactKey, Counts, Manifest, Store

_ROLLOUT = ["rollout_id", "group_id", "task_id", "prompt_id", "iteration", "text", "finish_reason", "error", "token_ids"]
_TASK = ["problem_key", "family", "level"]
_SCORE = ["status", "detail", "answer", "value"]
_GROUP = ["pass_rate", "pass_lo", "pass_hi", "n", "n_valid", "n_passed", "label_source"]


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
        found = (m for m in store.find(stage, iteration) if shard_of(m, purpose))
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
    made = run_stage(store, wanted, lambda: _curate(store, recipe, crop, name, wanted))
    if not _holds(store.root / made.extra["folder"], made.extra["dataset_id"], made.extra["dataset_digest"]):
        _curate(store, recipe, crop, name, wanted)  # found or revived, but its folder holds another curation, or is damaged
    return made


def _holds(folder: Path, dataset_id: str, digest: str) -> bool:
    try:
        return datasets.read_info(folder).dataset_id == dataset_id and datasets.is_whole(folder, digest)
    except DataError:
        return False


def _curate(store: Store, recipe: Recipe, crop: Crop, name: str, wanted: ArtifactKey) -> Built:
    curation_id = ids.content_id("curation", wanted.artifact_id)
    dataset_id = ids.content_id("dataset", wanted.artifact_id)
    rows = candidates(store, crop)
    release()
    decisions = decide(rows, _steps(recipe), curation_id)
    planned, kept = rows.num_rows, survivors(rows, decisions).select(["rollout_id"])
    del rows
    release()
    made, dataset = examples.build(
        _full(store, crop, kept), store.read("prompts", crop.prompts), store.read("samplings"),
        store.read("groups", [crop.groups]), _scores_of(store, crop, kept), dataset_id=dataset_id,
    )  # fmt: skip
    info = datasets.DatasetInfo(dataset_id, name, crop.iteration, store.run_id, _made(recipe, decisions, planned))
    folder = datasets.write_dataset(store.root, name, crop.iteration, dataset, info)
    extra = {
        "dataset": f"{name}/{crop.iteration}",
        "dataset_id": dataset_id,
        "curation_id": curation_id,
        "dataset_digest": datasets.content_digest(dataset),
        "folder": folder.relative_to(store.root).as_posix(),
    }
    counts = Counts(planned, kept.num_rows, dropped=planned - kept.num_rows)
    return Built({"decisions": decisions, "examples": made}, counts, extra)


def candidates(store: Store, crop: Crop) -> pa.Table:
    """One row a rollout with what filters may look at, in id order; never the oracle. Joined column by column, so that no
    more than the columns themselves is in memory. Raises DataError where a rollout has several scores or groups."""
    parts = [_counted(pa.Table.from_batches([batch])) for batch in store.scan("rollouts", crop.rollouts, _ROLLOUT)]
    rows = pa.concat_tables([_counted(schema.empty("rollouts").select(_ROLLOUT)), *parts]).sort_by("rollout_id")
    scores = store.read("scores", crop.scores, ["subject_kind", "subject_id", *_SCORE])
    scores = scores.filter(pc.equal(scores["subject_kind"], "rollout"))
    rows = _beside(rows, "task_id", store.read("tasks", crop.pool, ["task_id", *_TASK]), "task_id", _TASK)
    rows = _beside(rows, "rollout_id", scores, "subject_id", _SCORE)
    return _beside(rows, "group_id", store.read("groups", [crop.groups], ["group_id", *_GROUP]), "group_id", _GROUP)


def _counted(part: pa.Table) -> pa.Table:
    """With the number of tokens in place of the tokens."""
    return part.drop_columns(["token_ids"]).append_column("n_tokens", pc.list_value_length(part["token_ids"]))


def _beside(rows: pa.Table, key: str, other: pa.Table, other_key: str, columns: Sequence[str]) -> pa.Table:
    """`rows` with columns of the row of `other` that has the same key, null where there is none."""
    keys = other[other_key].combine_chunks()
    if pc.count_distinct(keys).as_py() != len(keys):
        raise DataError(f"several rows are beside one {key}", "join one score and one group per rollout")
    at = pc.index_in(rows[key], value_set=keys)
    for name in columns:
        rows = rows.append_column(name, other[name].combine_chunks().take(at))
    return rows


def _steps(recipe: Recipe) -> list[tuple[str, Config]]:
    return [(f.kind, f) for f in recipe.filters]


def _full(store: Store, crop: Crop, kept: pa.Table) -> pa.Table:
    return _those(store, "rollouts", crop.rollouts, "rollout_id", kept)


def _scores_of(store: Store, crop: Crop, kept: pa.Table) -> pa.Table:
    return _those(store, "scores", crop.scores, "subject_id", kept)


def _those(store: Store, table: str, manifests: Sequence[Manifest], key: str, kept: pa.Table) -> pa.Table:
    wanted = kept["rollout_id"].combine_chunks()
    batches = (batch.filter(pc.is_in(batch[key], value_set=wanted)) for batch in store.scan(table, manifests))
    return pa.Table.from_batches(batches, schema=schema.TABLES[table])


def _made(recipe: Recipe, decisions: pa.Table, candidates: int) -> dict[str, Any]:
    """How the rows were chosen: for the card."""
    dropped = decisions.filter(pc.invert(decisions["keep"]))
    reasons = {c["values"]: c["counts"] for c in pc.value_counts(dropped["reason"].combine_chunks()).to_pylist()}
    return {
        "recipe": recipe.run.name, "seed": recipe.run.seed, "candidates": candidates, "dropped": dict(sorted(reasons.items())),
        "filters": semantic(recipe.filters), "sampling": semantic(recipe.sampling), "model": semantic(recipe.model),
    }  # fmt: skip
