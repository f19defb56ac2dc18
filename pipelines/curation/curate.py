"""From stored numbers to a dataset: candidates, decisions, examples, folder. No model is asked; Prefect is not known here.

A dataset is one or two views of the same rollouts. View `sft` is what `[[filters]]` keep, for rft. In an nft round view `group`
comes before it: whole groups of right and wrong rollouts, by `[[group_filters]]`. Each view has decisions of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids
from ratoon.config import Config, semantic
from ratoon.errors import DataError
from ratoon.filters import FILTERS
from ratoon.filters.decide import decide, survivors, versions
from ratoon.filters.filter import Side
from ratoon.filters.mixed_group import MixedGroupConfig
from ratoon.filters.random_n import RandomNConfig
from ratoon.pipelines.curation import question_only as bare
from ratoon.pipelines.curation.candidates import STORED, appeals, candidates, judges, tests_of_tasks
from ratoon.pipelines.curation.sampling_provenance import of as sources_of
from ratoon.pipelines.curation.side_tables import SideTables, side_tables
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.rollouts import retry_queue as retry
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.pipelines.runtime.stage import Built, key, release, run_stage
from ratoon.sft.data import dataset as datasets
from ratoon.sft.data import examples
from ratoon.sft.data.group_weights import group_weights
from ratoon.store.store import ArtifactKey, Counts, Manifest, Store

__all__ = ["CONTROL", "Crop", "candidates", "control", "crop_of", "curate"]

CONTROL = "-control"
_CORRECT = {"finish_reason", "decontaminate", "verified", "consensus"}

_KEPT = ["rollout_id", "group_id", "status", "n_valid", "n_passed"]


def curate(store: Store, recipe: Recipe, crop: Crop, name: str = "default", others: Sequence[Crop] = ()) -> Manifest:
    """Decisions on every rollout of a crop, and the dataset of those kept in every step, in one commit.

    `others` are the round's rollouts of further roles: each is decided by itself, and what is kept is one dataset. The
    control is made of `crop` alone.
    """
    gated = _views(control(recipe, 1), crop.iteration) if recipe.curation.control else None
    also = _needed(gated, ()) if gated else None
    sources = [_Source(store, crop, also=also), *(_Source(store, other, also=None) for other in others)]
    made = _found_or_made(sources, recipe, name)
    if recipe.curation.control:
        _found_or_made(sources[:1], control(recipe, made.counts.rows_out), f"{name}{CONTROL}")
    return made


def control(recipe: Recipe, n: int) -> Recipe:
    """The same-size random control of a selection: the gates of correctness, then rollouts by hash."""
    gates = tuple(f for f in recipe.filters if f.kind in _CORRECT)
    return recipe.model_copy(update={"filters": (*gates, RandomNConfig(n=n, seed=recipe.run.seed))})


@dataclass
class _Source:
    """A crop's candidates. Where a control will read columns `also`, they are joined with the selection's, once for both."""

    store: Store
    crop: Crop
    also: set[str] | None
    held: pa.Table | None = None

    def candidates(self, needed: set[str] | None, lint: Sequence[Manifest]) -> pa.Table:
        held, self.held = self.held, None
        if held is not None and needed == self.also:
            return held
        wanted = None if needed is None else needed | (self.also or set())
        judged, tests = judges(self.store, self.crop, wanted), tests_of_tasks(self.store, wanted)
        rows = candidates(self.store, self.crop, lint, wanted, judged, tests, appeals(self.store, self.crop))
        self.held = rows if self.also is not None and needed != self.also else None
        return rows


def _found_or_made(sources: Sequence[_Source], recipe: Recipe, name: str) -> Manifest:
    store, crop = sources[0].store, sources[0].crop
    views = _views(recipe, crop.iteration)
    config: dict[str, Any] = {"filters": semantic(recipe.filters)}
    own = dict(versions(_steps(recipe.filters)))
    if "group" in views:
        config["group_filters"] = semantic(recipe.group_filters)
        own = own | {f"group.{step}": version for step, version in versions(views["group"]).items()}
    if recipe.keeps_failures:
        config["retry"] = True
    questions = bare.found(store, recipe, crop.iteration)
    kinds = {kind for steps in views.values() for kind, _ in steps}
    reads = [side_tables(store, recipe.curation, source.crop, name, kinds) for source in sources]
    used = list(questions)
    for source, read in zip(sources, reads, strict=True):
        needed = _needed(views, read.lint)
        used += [*source.crop.inputs, *read.inputs, *judges(store, source.crop, needed), *tests_of_tasks(store, needed)]
        used += appeals(store, source.crop)
    inputs = {m.artifact_id: m.content_digest for m in used} | dict(reads[0].runs or {})
    wanted = key("curate", crop.iteration, name, config=config, inputs=inputs, versions=own)
    made = run_stage(store, wanted, lambda: _curate(sources, recipe, name, wanted, reads))
    if not _holds(datasets.folder_at(store.root, made.extra["folder"]), made.extra["dataset_id"], made.extra["dataset_digest"]):
        _curate(sources, recipe, name, wanted, reads)  # found or revived, but its folder holds another curation, or is damaged
    return made


def _views(recipe: Recipe, iteration: int) -> dict[str, list[tuple[str, Config]]]:
    """The steps of each view of a round's dataset, the one it trains on first."""
    sft = {"sft": _steps(recipe.filters)}
    if not recipe.learns_from_groups(iteration):
        return sft
    return {"group": [*_steps(recipe.group_filters), ("mixed_group", MixedGroupConfig())]} | sft


def _holds(folder: Path, dataset_id: str, digest: str) -> bool:
    try:
        return datasets.read_info(folder).dataset_id == dataset_id and datasets.is_whole(folder, digest)
    except DataError:
        return False


def _curate(sources: Sequence[_Source], recipe: Recipe, name: str, wanted: ArtifactKey, reads: Sequence[SideTables]) -> Built:
    store, crop = sources[0].store, sources[0].crop
    dataset_id = ids.content_id("dataset", wanted.artifact_id)
    decided, planned = list[_View](), 0
    for source, read in zip(sources, reads, strict=True):
        views, candidates = _decide(source, recipe, wanted, read)
        decided, planned = decided + views, planned + candidates
    first = [view for view in decided if view.name == decided[0].name]  # what the round trains on, of each role
    questions = bare.found(store, recipe, crop.iteration)
    built = [_built(store, view, dataset_id, questions if view.name == "sft" else []) for view in decided]
    made, dataset = (pa.concat_tables(tables).sort_by("example_id") for tables in zip(*built, strict=True))
    grouped = first[0].name == "group"
    found = sources_of(store, [s.crop for s in sources], dataset, recipe.consensus) if grouped else {}
    info = datasets.DatasetInfo(dataset_id, name, crop.iteration, store.run_id, _made(recipe, first, planned), sources=found)
    folder = datasets.write_dataset(store.root, name, crop.iteration, dataset, info)
    extra = {
        "dataset": f"{name}/{crop.iteration}",
        "dataset_id": dataset_id,
        "curation_id": first[0].curation_id,
        "dataset_digest": datasets.content_digest(dataset),
        "folder": folder.relative_to(store.root).as_posix(),
        "view": first[0].name,
    }
    kept = sum(view.kept.num_rows for view in first)
    tables = {"decisions": pa.concat_tables([view.decisions for view in decided]), "examples": made}
    if recipe.keeps_failures:
        tables["state"] = retry.never_solved(store.read("groups", [crop.groups]), crop.iteration)
    return Built(tables, Counts(planned, kept, dropped=planned - kept), extra)


@dataclass(frozen=True)
class _View:
    """One view's decisions on the rollouts of one crop, and those kept with what weights are made of."""

    name: str
    crop: Crop
    curation_id: str
    decisions: pa.Table
    kept: pa.Table


def _decide(source: _Source, recipe: Recipe, wanted: ArtifactKey, read: SideTables) -> tuple[list[_View], int]:
    """The views of one crop, and how many candidates it had."""
    views = _views(recipe, source.crop.iteration)
    rows = source.candidates(_needed(views, read.lint), read.lint)
    side = read.tables(source.store, [step for steps in views.values() for step in steps])
    release()
    decided = [_decided(source.crop, rows, view, steps, wanted, side) for view, steps in views.items()]
    candidates = rows.num_rows
    del rows, side
    release()
    return decided, candidates


def _decided(crop: Crop, rows: pa.Table, view: str, steps: list[tuple[str, Config]], wanted: ArtifactKey, side: Side) -> _View:
    """Decide one view of one crop. The curation's id is the artifact's own for the solver's first view; the others are
    told apart by view and role."""
    told = [view] if view == "sft" and "group_filters" in wanted.config else []
    told += [crop.role] if crop.role != "solver" else []
    curation_id = ids.content_id("curation", [wanted.artifact_id, *told] if told else wanted.artifact_id)
    decisions = decide(rows, steps, curation_id, side=side)
    return _View(view, crop, curation_id, decisions, survivors(rows, decisions).select(_KEPT))


def _built(store: Store, view: _View, dataset_id: str, questions: Sequence[Manifest]) -> tuple[pa.Table, pa.Table]:
    """Table `examples` and the dataset's rows of one view, asked by bare `questions` where there are any."""
    crop, asked = view.crop, [store.read("prompts", [m]) for m in questions]
    kept = view.kept["rollout_id"].combine_chunks()
    whole = store.among("rollouts", crop.rollouts, "rollout_id", kept)
    scores = store.among("scores", [*crop.scores, crop.groups], "subject_id", kept)
    prompts = store.among("prompts", crop.prompts, "prompt_id", pc.unique(whole["prompt_id"]))
    rollouts, prompts = bare.instead(whole, prompts, asked)
    return examples.build(
        rollouts, prompts, store.read("samplings"), store.read("groups", [crop.groups]), scores,
        dataset_id=dataset_id, view=view.name, weight=group_weights(view.kept) if view.name == "group" else 1.0,
    )  # fmt: skip


def _needed(views: Mapping[str, list[tuple[str, Config]]], lint: Sequence[Manifest]) -> set[str] | None:
    """The columns that these steps read; None where one is a user's own, which is given all."""
    steps = [step for view in views.values() for step in view]
    if any(kind not in FILTERS for kind, _ in steps):
        return None
    there = STORED if lint else ()
    return {*_KEPT, *(name for kind, config in steps for name in FILTERS[kind].columns(config, there))}


def _steps(filters: Sequence[Any]) -> list[tuple[str, Config]]:
    return [(f.kind, f) for f in filters]


def _made(recipe: Recipe, views: Sequence[_View], candidates: int) -> dict[str, Any]:
    """How the rows were chosen: for the card."""
    decisions = pa.concat_tables([view.decisions for view in views])
    dropped = decisions.filter(pc.invert(decisions["keep"]))
    own: dict[str, Any] = {"group_filters": semantic(recipe.group_filters)} if views[0].name == "group" else {}
    if recipe.curation.licence:
        own["licence"] = recipe.curation.licence
    reasons = {c["values"]: c["counts"] for c in pc.value_counts(dropped["reason"].combine_chunks()).to_pylist()}
    return {
        "recipe": recipe.run.name, "seed": recipe.run.seed, "candidates": candidates, "dropped": dict(sorted(reasons.items())),
        "filters": semantic(recipe.filters), "sampling": semantic(recipe.sampling), "model": semantic(recipe.model),
    } | own  # fmt: skip
