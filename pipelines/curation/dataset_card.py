"""The card of a dataset, told again with what is known of it by now: its measures, and the warnings that stood. No Prefect."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc

from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.sft.data import card, dataset
from ratoon.store.store import Manifest, Store

_STEPS = {
    "decontaminate": "no step compared it with held-out tasks or benchmarks",
    "exact_dedup": "no step looked for exact duplicates",
    "minhash": "no step looked for near-duplicates",
}


def tell(store: Store, curated: Manifest) -> Manifest:
    """Write the dataset folder's README.md anew from its rows, `measures` and warnings; returns `curated`."""
    folder = dataset.folder_at(store.root, curated.extra["folder"])
    info = dataset.read_info(folder)
    facts = card.Facts(_measures(store, info.dataset_id), warnings(store, curated, info.made))
    text = card.render(dataset.read_dataset(folder), asdict(info), facts)
    temporary = folder / f".README.md.{os.getpid()}"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / "README.md")
    return curated


def warnings(store: Store, curated: Manifest, made: Mapping[str, Any]) -> list[str]:
    """The sentences a reader must know before trusting the rows: gates overridden, steps left out, items compared with."""
    lines = [f"overridden: {row['key']}: {row['value']}" for row in _overrides(store)]
    kinds = {step["kind"] for step in made.get("filters", [])}
    lines += [
        said for kind, said in _STEPS.items() if not kind.startswith("exact") or "minhash" not in kinds if kind not in kinds
    ]
    matched = [m for m in store.find("matched", curated.iteration) if m.artifact_id in curated.key.inputs]
    if matched and not matched[0].extra.get("items"):
        lines.append("it was compared with no benchmark item: there is no held-out task, and `curation.against` is empty")
    groups = store.read("groups", [crop_of(store, curated.iteration or 0).groups], ["n", "n_valid"])
    n, judged = (pc.sum(groups[name]).as_py() or 0 for name in ("n", "n_valid"))
    if n and 1 - judged / n > 0.02:
        lines.append(f"{n - judged} of {n} candidates could not be judged")
    return lines


def _overrides(store: Store) -> list[dict[str, Any]]:
    return [row for row in store.read("state", columns=["step", "key", "value"]).to_pylist() if row["step"] == "gate"]


def _measures(store: Store, dataset_id: str) -> Sequence[Mapping[str, Any]]:
    rows = store.read("measures")
    mine = pc.and_(pc.equal(rows["scope_kind"], "dataset"), pc.equal(rows["scope_id"], dataset_id))
    measures = rows.filter(pc.and_(mine, pc.is_valid(rows["value"]))).select(["metric", "value", "lo", "hi", "n", "params"])
    return [row for row in measures.sort_by("metric").to_pylist() if "/" not in row["metric"] and len(json.dumps(row)) < 600]
