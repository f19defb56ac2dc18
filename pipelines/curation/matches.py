"""Tasks and rollouts that hold an item of a held-out task or of a benchmark, by words; and those near one by embeddings."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.config import semantic
from ratoon.messages import user_texts
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.text import contamination
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.contamination.near_questions import Reviewer
from ratoon.pipelines.curation.embed import embedded, vectors
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.pipelines.runtime.rollout_set import TEXT, Crop
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Manifest, Store

_MATCHED = 4096  # texts cut into words at once


def matched(store: Store, config: CurationConfig, crop: Crop) -> Manifest:
    """Table edges: tasks and rollouts that hold an item of a held-out task or of a configured benchmark."""
    frozen = benchmarks.frozen(store, config.against)
    inputs = [*crop.pool, *crop.rollouts, *([frozen] if frozen else [])]
    artifact_key = key(
        "matched", crop.iteration, crop.purpose, config=semantic(config.contamination), inputs=inputs,
        versions={"matches": contamination.VERSION},
    )  # fmt: skip

    def build() -> Built:
        ids, questions, items = _compared(store, crop, frozen)
        index = contamination.build(items, config.contamination)
        edges = [contamination.matches(index, ids, questions)]
        for whole in store.scan("rollouts", crop.rollouts, TEXT):
            for batch in (whole.slice(start, _MATCHED) for start in range(0, whole.num_rows, _MATCHED)):
                edges.append(contamination.matches(index, batch["rollout_id"], batch["text"]))
        return Built.of("edges", pa.concat_tables(edges), {"index": index.digest, "items": index.items.num_rows})

    return run_stage(store, artifact_key, build)


def reviewed(store: Store, config: CurationConfig, crop: Crop, near: float) -> Manifest:
    """Table edges of kind `review`: training tasks and right rollouts near a held-out or benchmark question by embeddings."""
    own, frozen = embedded(store, config, crop), benchmarks.frozen(store, config.against)
    inputs = [own, *crop.pool, *([frozen] if frozen else [])]
    artifact_key = key("review", crop.iteration, crop.purpose, config={"near": near}, inputs=inputs)

    def build() -> Built:
        ids, said, items = _compared(store, crop, frozen)
        cache = Path(config.cache) if config.cache else None
        reviewer = Reviewer(items, near, config.embedding, cache)
        asked = embeddings.embed([text or "" for text in said.to_pylist()], config.embedding, cache)
        rollouts = store.read("embeddings", [own], ["subject_id"])["subject_id"].combine_chunks()
        replies = embeddings.unit(vectors(store, [own], rollouts))
        edges = pa.concat_tables([reviewer.edges(ids, asked), reviewer.edges(rollouts, replies)])
        return Built.of("edges", edges, {"questions": len(reviewer.names)})

    return run_stage(store, artifact_key, build)


def _compared(store: Store, crop: Crop, frozen: Manifest | None) -> tuple[pa.Array, pa.Array, pa.Table]:
    """Training tasks and what they ask, and the items of held-out tasks and of the frozen benchmarks."""
    tasks = store.read("tasks", crop.pool, ["task_id", "split", "messages", "answer"])
    questions = user_texts(tasks["messages"])
    held = pc.and_(pc.is_valid(tasks["split"]), pc.not_equal(tasks["split"], "train")).combine_chunks()
    items = [benchmarks.held_out(tasks.filter(held), questions.filter(held))]
    items += [store.read("benchmarks", [frozen])] if frozen else []
    asked = pc.invert(held)
    return tasks["task_id"].combine_chunks().filter(asked), questions.filter(asked), pa.concat_tables(items)
