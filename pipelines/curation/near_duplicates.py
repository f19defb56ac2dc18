"""Near-duplicates by MinHash: signatures and edges of each round, an edge within it, to an earlier round or to another run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ratoon.metrics.text import minhash
from ratoon.metrics.text.near_duplicates import Past, near
from ratoon.pipelines.curation import other_runs as foreign
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.pipelines.runtime.rollout_set import TEXT, Crop, texts_of
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Manifest, Store


def near_pairs(store: Store, config: CurationConfig, crops: Sequence[Crop]) -> list[Manifest]:
    """Tables signatures and edges of each round; an edge leads to the same or an earlier round, or to a named run.

    `crops` are all rounds, oldest first: the artifacts of earlier rounds are inputs of the next one's.
    """
    other_runs = foreign.digests(config.runs)
    manifests: list[Manifest] = []
    for crop in crops:
        before = list(zip(crops, manifests, strict=False))  # the rounds done so far
        manifests.append(_near_pairs(store, config, crop, before, other_runs))
    return manifests


def _near_pairs(
    store: Store, config: CurationConfig, crop: Crop, before: Sequence[tuple[Crop, Manifest]], other_runs: dict[str, str]
) -> Manifest:
    """One round's signatures and edges; `before` holds earlier rounds with their signatures."""
    version = minhash.edge_version(config.minhash)
    earlier_signatures = [manifest for _, manifest in before]
    inputs = {m.artifact_id: m.content_digest for m in [*crop.rollouts, *earlier_signatures]} | other_runs
    # The settings are in the name, so that other settings for another dataset replace nothing.
    name = f"{crop.purpose}-{version.replace(':', '-')}"
    artifact_key = key("near", crop.iteration, name, inputs=inputs, versions={"edges": version})

    def build() -> Built:
        past = [Past(_signatures(store, manifest), texts_of(store, other)) for other, manifest in before]
        past += [foreign.past(root, config.minhash) for root in config.runs]
        texts = ((batch["rollout_id"], batch["text"]) for batch in store.scan("rollouts", crop.rollouts, TEXT))
        with tempfile.TemporaryDirectory(prefix=".near-", dir=store.root) as folder:
            pairs = near(texts, config.minhash, Path(folder), past)
        return Built.of("signatures", pairs.signatures, edges=pairs.edges)

    return run_stage(store, artifact_key, build)


def _signatures(store: Store, manifest: Manifest) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: store.scan("signatures", [manifest])
