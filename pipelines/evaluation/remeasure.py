"""Measuring a run again, or at a dearer tier, from what is stored: no policy is asked and no Prefect is known here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ratoon.config import apply_sets, parse
from ratoon.errors import DataError
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.evaluation import rounds as qdc
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.pipelines.views.summary import headlines
from ratoon.store.store import Store


def remeasure(root: Path, sets: Iterable[str]) -> list[dict[str, Any]]:
    """Every harvested round with each dataset made of it, under the run's recipe with `sets` applied; the headlines."""
    with Store.writer(root) as store:
        recipe = parse(Recipe, apply_sets(store.config(), sets), f"the recipe of {root}")
        rounds = sorted(m.iteration or 0 for m in store.find("groups") if m.shard == "train")
        if not rounds:
            raise DataError(f"{root} has no harvested round yet", "`ratoon run` it first")
        for iteration in rounds:
            crop = crop_of(store, iteration)
            linted = linting.lint(store, crop)
            for curated in store.find("curate", iteration):
                qdc.measure(store, recipe, crop, curated, linted)
        return headlines(store)
