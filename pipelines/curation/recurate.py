"""Curating again: new decisions and datasets from stored numbers; no model, no Prefect."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ratoon.config import apply_sets, parse
from ratoon.errors import DataError, UsageError
from ratoon.pipelines.curation import dataset_card as cards
from ratoon.pipelines.curation.curate import CONTROL, curate
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.sft.data import dataset
from ratoon.store.store import Manifest, Store


def replay(root: Path, name: str, sets: Iterable[str]) -> list[dict[str, Any]]:
    """Dataset `name` for every harvested round of a run, under its recipe with `sets` applied. One dict per round."""
    if name == "default":
        raise UsageError("dataset 'default' belongs to `ratoon run`", "give another --name")
    dataset.check_name(name)
    with Store.writer(root) as store:
        recipe = parse(Recipe, apply_sets(store.config(), sets), f"the recipe of {root}")
        rounds = sorted(m.iteration or 0 for m in store.find("groups") if m.shard == "train")
        crops = [crop_of(store, iteration) for iteration in rounds]
        if not crops:
            raise DataError(f"{root} has no harvested round yet", "`ratoon run` it first")
        curations = [curate(store, recipe, crop, name) for crop in crops]
        if recipe.curation.control:
            curations += [m for crop in crops if (m := control_of(store, crop.iteration, name)) is not None]
        return [_told(root, m.shard or name, cards.tell(store, m)) for m in curations]


def control_of(store: Store, iteration: int, name: str) -> Manifest | None:
    """The random control beside a dataset of one round, where the recipe asked for one."""
    return next((m for m in store.find("curate", iteration) if m.shard == f"{name}{CONTROL}"), None)


def _told(root: Path, name: str, curated: Manifest) -> dict[str, Any]:
    counts = curated.counts
    return {"round": curated.iteration, "dataset": name, "candidates": counts.rows_planned, "kept": counts.rows_out,
            "dropped": counts.dropped, "folder": str(root / curated.extra["folder"])}  # fmt: skip
