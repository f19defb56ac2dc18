"""Several data sets as one arm, by weight: each gives its share of `n` tasks, picked by hash; knows no columns itself.

Where a part has fewer tasks than its share, the others take over. What a part cannot use is a failure of the arm; what the
weights leave out is counted as dropped. Ids and hashes decide, so a larger `n` of one part keeps all a smaller one had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.generators.shares import parted
from ratoon.generators.tasks import dataset
from ratoon.generators.tasks.dataset import DatasetConfig
from ratoon.generators.tasks.task_rows import Proposal, proposal


class MixPart(DatasetConfig):
    """One data set of a mix."""

    weight: float = Field(1.0, gt=0, description="relative share of the mix's tasks")


class MixConfig(Config):
    """One arm of tasks from several data sets."""

    source: Literal["mix"] = Field("mix", description="several data sets by weight")
    name: str = Field("mix", description="the arm's name, `family` of its tasks; their meta names the part")
    n: int = Field(ge=1, description="how many tasks altogether, or as many as there are")
    parts: tuple[MixPart, ...] = Field(min_length=1, description="the data sets")

    @field_validator("parts")
    @classmethod
    def _named_apart(cls, parts: tuple[MixPart, ...]) -> tuple[MixPart, ...]:
        names = [part.family for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two parts are called {twice[0]!r}; give each its own `name`")
        return parts

    @property
    def family(self) -> str:
        return self.name


def propose(config: MixConfig, seed: int) -> Proposal:
    """At most `config.n` tasks, a task that two parts hold once, under the first. Raises DataError as its parts do."""
    made = [dataset.propose(part, ids.derive_seed(seed, "mix", part.family)) for part in config.parts]
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for part, each in zip(config.parts, made, strict=True):
        for row in each.tasks.to_pylist():
            meta = ids.canonical_json(json.loads(row["meta"] or "{}") | {"part": part.family})
            found.setdefault(row["task_id"], (part.family, row | {"family": config.name, "meta": meta}))
    taken = _chosen(config, {task: part for task, (part, _) in found.items()}, seed)
    kept = [row for task, (_, row) in found.items() if task in taken]
    oracles = [row for each in made for row in each.oracles.to_pylist() if row["task_id"] in taken]
    planned, whole = sum(each.planned for each in made), proposal(kept, oracles)
    failures = pa.concat_tables([each.failures for each in made])
    told = tuple(line for each in made for line in each.told)
    return Proposal(whole.tasks, whole.oracles, failures, planned - len(kept) - failures.num_rows, told)


def _chosen(config: MixConfig, part_of: Mapping[str, str], seed: int) -> set[str]:
    """The ids of least hash of each part."""
    by_part: dict[str, list[str]] = {part.family: [] for part in config.parts}
    for task, part in part_of.items():
        by_part[part].append(task)
    sizes = {name: len(part) for name, part in by_part.items()}
    taken: set[str] = set()
    for name, count in parted(config.n, {part.family: part.weight for part in config.parts}, sizes).items():
        taken |= set(sorted(by_part[name], key=lambda task: (ids.derive_seed(seed, "mix/task", task), task))[:count])
    return taken


def version(config: MixConfig) -> str | None:
    """The digest of the parts' local files; null where all come from a hub."""
    found = [dataset.version(part) for part in config.parts]
    return ids.digest(found) if any(found) else None


def versions(config: MixConfig) -> dict[str, str | None]:
    """What decides the tasks beside config and seed."""
    return {f"data {config.family}": version(config)}


def verifiers(config: MixConfig) -> list[str | None]:
    """The verifiers of its parts."""
    return [part.verifier for part in config.parts]
