"""What one round harvested: the manifests that a curation reads, and what else was measured on its texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from ratoon.pipelines.runtime.stage import shard_of
from ratoon.store.store import Manifest, Store

TEXT = ["rollout_id", "text"]


@dataclass(frozen=True)
class Crop:
    """What one round harvested for one purpose: the manifests that a curation reads."""

    iteration: int
    pool: Sequence[Manifest]
    prompts: Sequence[Manifest]
    rollouts: Sequence[Manifest]
    scores: Sequence[Manifest]
    groups: Manifest

    @property
    def purpose(self) -> str:
        """What was asked: `train`, `suite-NAME`, or `step-ROLE` for a further role of a round."""
        return self.groups.shard or "train"

    @property
    def role(self) -> str:
        """The role that gave these replies."""
        return self.purpose.removeprefix("step-") if self.purpose.startswith("step-") else "solver"

    @property
    def inputs(self) -> list[Manifest]:
        return [*self.pool, *self.prompts, *self.rollouts, *self.scores, self.groups]


@dataclass(frozen=True)
class RoundSoFar:
    """What a round has asked, sampled and scored up to now, wave after wave; nothing before its first wave."""

    iteration: int
    pool: Sequence[Manifest]
    prompts: Sequence[Manifest]
    asked: tuple[Manifest, ...] = ()
    rollouts: tuple[Manifest, ...] = ()
    scores: tuple[Manifest, ...] = ()

    @property
    def next_wave(self) -> str:
        """The slot of the next wave's assignments: `train`, then `train+1` …"""
        return f"train+{len(self.asked)}" if self.asked else "train"

    def with_wave(self, asked: Manifest, rollouts: Iterable[Manifest], scores: Iterable[Manifest]) -> RoundSoFar:
        """The round after one more wave."""
        return replace(self, asked=(*self.asked, asked), rollouts=(*self.rollouts, *rollouts), scores=(*self.scores, *scores))


def crop_of(store: Store, iteration: int, purpose: str = "train") -> Crop:
    """The live manifests of one harvest: a round's training rollouts, `suite-NAME`, or `step-ROLE`."""

    def shards(stage: str) -> list[Manifest]:
        found = (m for m in store.find(stage, iteration) if shard_of(m, purpose))
        return sorted(found, key=lambda m: m.shard or "")

    groups = next(m for m in store.find("groups", iteration) if m.shard == purpose)
    pool, prompts = _asked_of(store, iteration, purpose)
    return Crop(iteration, pool, prompts, shards("rollouts"), shards("scores"), groups)


def texts_of(store: Store, crop: Crop) -> Callable[[pa.Array], tuple[pa.Array, pa.Array]]:
    """A function from rollout ids to the ids and texts of a round's rollouts among them."""

    def read(wanted: pa.Array) -> tuple[pa.Array, pa.Array]:
        rows = store.among("rollouts", crop.rollouts, "rollout_id", wanted, TEXT)
        return rows["rollout_id"].combine_chunks(), rows["text"].combine_chunks()

    return read


def earlier(store: Store, crop: Crop) -> list[Crop]:
    """The harvests of the same purpose in the rounds before, oldest first."""
    rounds = sorted(m.iteration or 0 for m in store.find("groups") if m.shard == crop.purpose)
    return [crop_of(store, iteration, crop.purpose) for iteration in rounds if iteration < crop.iteration]


def _asked_of(store: Store, iteration: int, purpose: str) -> tuple[list[Manifest], list[Manifest]]:
    """The tasks and prompts a harvest's assignments were made from: an import brings its own."""
    live = store.live()
    asked = next(m for m in store.find("assign", iteration) if m.shard == purpose)
    inputs = [live[i] for i in asked.key.inputs if i in live]
    found = ([m for m in inputs if m.stage in stages] for stages in (("tasks", "propose"), ("prompts",)))
    pool, prompts = (m or [store.find(stage)[-1]] for m, stage in zip(found, ("tasks", "prompts"), strict=True))
    return pool, prompts
