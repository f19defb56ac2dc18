"""What filters read beside scores: lint numbers, matches with benchmarks, near-duplicates, vectors. Measured once, from text.

Each is a stage of a round, made when a filter asks for it and found ever after: deciding anew measures nothing. Which filters
need which stages is known here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ratoon.config import Config
from ratoon.filters import FILTERS
from ratoon.filters.lint import LintConfig
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.curation import other_runs as foreign
from ratoon.pipelines.curation.embed import embedded, like_pairs, vectors
from ratoon.pipelines.curation.matches import matched, reviewed
from ratoon.pipelines.curation.near_duplicates import near_pairs
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.pipelines.runtime.rollout_set import Crop, earlier
from ratoon.store.store import Manifest, Store


@dataclass(frozen=True)
class SideTables:
    """The artifacts by what was measured, this round's last, and those of earlier datasets of the same name."""

    lint: Sequence[Manifest] = ()
    edges: Sequence[Manifest] = ()
    vectors: Sequence[Manifest] = ()
    past: Sequence[Manifest] = ()
    runs: Mapping[str, str] | None = None

    @property
    def inputs(self) -> list[Manifest]:
        """Every artifact that decisions may depend on."""
        return [*self.lint, *self.edges, *self.vectors, *self.past]

    def tables(self, store: Store, steps: Iterable[tuple[str, Config]]) -> dict[str, Any]:
        """The tables that filters are given, as far as they are read; vectors when a filter asks for some."""
        lint = {name for _, config in steps if isinstance(config, LintConfig) for name in config.columns()}
        past = [store.read("examples", self.past, ["rollout_ids"])["rollout_ids"].combine_chunks().flatten()]
        past += [foreign.kept(root) for root in self.runs or {}]
        return {
            "lint": store.read("lint", self.lint, ["rollout_id", *sorted(lint)]),
            "edges": store.read("edges", self.edges),
            "past": pa.table({"subject_id": pa.chunked_array(past, pa.string())}),
            "vectors": lambda ids: vectors(store, self.vectors, ids),
        }


def side_tables(store: Store, config: CurationConfig, crop: Crop, name: str, kinds: set[str]) -> SideTables:
    """The artifacts that filters of these kinds read, made where missing; `name` is the dataset whose earlier rounds count."""
    needs = {side for kind in kinds if kind in FILTERS for side in FILTERS[kind].side}
    edges: list[Manifest] = []
    if "decontaminate" in kinds:
        edges.append(matched(store, config, crop))
        if config.review is not None:
            reviewed(store, config, crop, config.review)  # no filter reads it
    crops = [*earlier(store, crop), crop]
    if "minhash" in kinds:
        edges += near_pairs(store, config, crops)
    embeddings = [embedded(store, config, each) for each in crops] if kinds & {"semantic", "dpp"} else []
    if "semantic" in kinds:
        edges += like_pairs(store, config, embeddings)
    past = [m for m in store.find("curate") if m.shard == name and (m.iteration or 0) < crop.iteration]
    return SideTables(
        linting.lint(store, crop) if "lint" in needs else [], edges, embeddings, past if "past" in needs else [],
        foreign.digests(config.runs) if "past" in needs else None,
    )  # fmt: skip
