"""Many settings of the filters at once: what each would keep, how good and how unlike it is, beside as many rollouts at random.

Nothing is written but what the filters' numbers need. Diversity is compared at equal n only with the setting's own random
control, since every such number grows with n. Unlikeness is Vendi over stored vectors (`curation.embedding`) where every kept
rollout has one, else the compression ratio of the texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.config import Config, apply_sets, parse
from ratoon.errors import DataError, UsageError
from ratoon.filters.decide import decide, survivors
from ratoon.metrics.embeddings import spectrum
from ratoon.metrics.text.lexical_diversity import compression_ratio
from ratoon.pipelines.curation import embed
from ratoon.pipelines.curation.candidates import candidates
from ratoon.pipelines.curation.curate import control
from ratoon.pipelines.curation.side_tables import side_tables
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.store.store import Store

_MOST = 500
_SHOWN = {"rollout_id", "group_id", "task_id", "text", "value", "pass_rate", "iteration"}


def sweep(root: Path, grid: Sequence[str], sets: Iterable[str] = (), iteration: int | None = None) -> list[dict[str, Any]]:
    """One dict per setting of one round (the newest, unless said), best quality first; `front` marks those that no other beats.

    `grid` are KEY=V1,V2,…; every combination is a setting. `quality` is the mean pass rate behind what is kept, `diversity` and
    `control` are numbers of the same n. Raises UsageError on a grid that is none, DataError where nothing was harvested.
    """
    settings = _settings(grid)
    with Store.writer(root) as store:
        rounds = sorted(m.iteration or 0 for m in store.find("groups") if m.shard == "train")
        if not rounds or iteration not in (None, *rounds):
            raise DataError(
                f"{root} has no harvested round {'' if iteration is None else iteration}", f"it has {rounds or 'none'}"
            )
        crop = crop_of(store, rounds[-1] if iteration is None else iteration)
        tree = store.config()
        recipes = [parse(Recipe, apply_sets(tree, [*sets, *chosen]), f"the recipe of {root}") for chosen in settings]
        points = [_point(store, crop, recipe, chosen) for recipe, chosen in zip(recipes, settings, strict=True)]
    _mark_front(points)
    return sorted(points, key=lambda row: (-(row["quality"] or 0), -(row["diversity"] or 0)))


def _settings(grid: Sequence[str]) -> list[list[str]]:
    axes = []
    for text in grid:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise UsageError(f"{text!r} is no axis of a sweep", "KEY=V1,V2 such as filters.6.threshold=0.7,0.8,0.9")
        axes.append([f"{key}={value.strip()}" for value in values.split(",")])
    settings = [list(chosen) for chosen in itertools.product(*axes)]
    if not axes or len(settings) > _MOST:
        raise UsageError(f"a sweep of {len(settings) if axes else 0} settings", f"1 to {_MOST} of them")
    return settings


def _point(store: Store, crop: Crop, recipe: Recipe, chosen: Sequence[str]) -> dict[str, Any]:
    """The numbers of what one setting keeps, beside those of its random control."""
    kept = _kept(store, crop, recipe)
    random = _kept(store, crop, control(recipe, kept.num_rows)) if kept.num_rows else kept
    point = {"setting": " ".join(chosen), "kept": kept.num_rows, "tasks": pc.count_distinct(kept["task_id"]).as_py()}
    ours, theirs = (_numbers(store, crop, recipe, rows) for rows in (kept, random))
    return point | ours | {f"control {name}": value for name, value in theirs.items() if name != "by"} | {"front": False}


def _kept(store: Store, crop: Crop, recipe: Recipe) -> pa.Table:
    steps: list[tuple[str, Config]] = [(f.kind, f) for f in recipe.filters]
    read = side_tables(store, recipe.curation, crop, "default", {kind for kind, _ in steps})
    rows = candidates(store, crop, read.lint)
    decisions = decide(rows, steps, "sweep", side=read.tables(store, steps))
    return survivors(rows, decisions).select([name for name in rows.column_names if name in _SHOWN])


def _numbers(store: Store, crop: Crop, recipe: Recipe, rows: pa.Table) -> dict[str, Any]:
    """Quality, difficulty and unlikeness of some rollouts; null where there is nothing to tell."""
    quality = pc.mean(rows["pass_rate"]).as_py() if rows.num_rows else None
    numbers = {"quality": None if quality is None else round(quality, 4)}
    stored = store.find("embed", crop.iteration)
    if stored:  # only then is the model looked for
        stored = [m for m in stored if m.shard == embed.embed_key(recipe.curation, crop).shard]
    x = embed.vectors(store, stored, rows["rollout_id"].combine_chunks()) if stored and rows.num_rows else np.zeros((0, 1))
    if len(x) and np.isfinite(x).all():
        return numbers | {"diversity": round(spectrum.vendi_score(x), 2), "by": "vendi"}
    ratio = compression_ratio(rows["text"]) if rows.num_rows else None
    return numbers | {"diversity": None if ratio is None else round(1 / ratio, 4), "by": "1 / compression ratio"}


def _mark_front(settings: Sequence[dict[str, Any]]) -> None:
    """Mark the settings that none beats in quality and in diversity over its control at once."""

    def scored(row: Mapping[str, Any]) -> tuple[float, float] | None:
        if row["quality"] is None or not row["diversity"] or not row["control diversity"]:
            return None
        return row["quality"], row["diversity"] / row["control diversity"]

    points = [scored(row) for row in settings]
    for row, point in zip(settings, points, strict=True):
        row["gain"] = None if point is None else round(point[1], 4)
        others = [p for p in points if p is not None]
        row["front"] = point is not None and not any(p[0] >= point[0] and p[1] >= point[1] and p != point for p in others)
