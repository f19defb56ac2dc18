"""The vector of every right rollout, and pairs of near vectors within a round and with all before it.

Indexes over rounds are chained: a round's edges are those among its own rollouts and to those of earlier rounds. No model is
asked but the embedding model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids as identity
from ratoon import schema
from ratoon.hashes import data_of
from ratoon.metrics.embeddings import cosine_pairs as cosines
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.pipelines.runtime.rollout_set import Crop, texts_of
from ratoon.pipelines.runtime.stage import Built, key, release, run_stage
from ratoon.store.store import ArtifactKey, Manifest, Store

_AT_ONCE = 8192  # texts embedded, or vectors copied


def embedded(store: Store, config: CurationConfig, crop: Crop) -> Manifest:
    """Table embeddings: the vector of every rollout that passed."""
    artifact_key = embed_key(config, crop)

    def build() -> Built:
        made_by = embeddings.fingerprint(config.embedding)
        scores = store.read("scores", crop.scores, ["subject_id", "status"])
        passed = scores.filter(pc.equal(scores["status"], "pass"))["subject_id"].combine_chunks()
        ids, texts = texts_of(store, crop)(passed)
        cache = Path(config.cache) if config.cache else None
        rows = [
            embeddings.embed([t or "" for t in texts[start : start + _AT_ONCE].to_pylist()], config.embedding, cache, half=True)
            for start in range(0, len(texts), _AT_ONCE)
        ]
        data = np.concatenate(rows) if rows else np.zeros((0, 0), np.float16)
        offsets = pa.py_buffer(np.arange(len(ids) + 1, dtype=np.int32) * 2 * data.shape[1])
        vectors = pa.Array.from_buffers(pa.binary(), len(ids), [None, offsets, pa.py_buffer(data.tobytes())])
        columns = {"subject_id": ids, "version": pa.repeat(made_by, len(ids)), "vector": vectors}
        return Built.of("embeddings", schema.from_columns("embeddings", columns, len(ids)))

    return run_stage(store, artifact_key, build)


def embed_key(config: CurationConfig, crop: Crop) -> ArtifactKey:
    """The key of a round's vectors."""
    made_by = embeddings.fingerprint(config.embedding)
    inputs = [*crop.rollouts, *crop.scores]
    return key("embed", crop.iteration, f"{crop.purpose}-{made_by}", inputs=inputs, versions={"model": made_by})


def vectors(store: Store, manifests: Sequence[Manifest], wanted: pa.Array) -> np.ndarray:
    """Rows `[n, d]` float16 of those ids, as they were stored; NaN where one was not embedded."""
    stored = store.read("embeddings", manifests, ["subject_id"])["subject_id"]
    at = np.asarray(pc.index_in(stored, value_set=wanted.cast(pa.string())).combine_chunks().fill_null(-1))
    out, mutex = np.empty((len(wanted), 0), np.float16), threading.Lock()

    def fill(done: int, batches: Iterator[pa.RecordBatch]) -> None:
        nonlocal out
        for part in (batch["vector"].slice(i, _AT_ONCE) for batch in batches for i in range(0, batch.num_rows, _AT_ONCE)):
            places = at[done : done + len(part)]
            done += len(part)
            data, starts = data_of(part)
            mine, rows = places >= 0, data.view(np.float16).reshape(len(starts) - 1, -1)
            with mutex:
                out = out if out.shape[1] else np.empty((len(wanted), rows.shape[1]), np.float16)
            out[places[mine]] = rows[mine]

    store.over("embeddings", manifests, ["vector"], fill)
    release()
    unknown = np.ones(len(wanted), bool)
    unknown[at[at >= 0]] = False
    out = out if out.shape[1] else np.empty((len(wanted), 1), np.float16)
    out[unknown] = np.nan  # filled once: most rows are known, and a million of NaN takes seconds
    return out


def like_pairs(store: Store, config: CurationConfig, rounds: Sequence[Manifest]) -> list[Manifest]:
    """Table edges of each round: pairs of near vectors, within the round and to all earlier ones.

    `rounds` are the vectors of all rounds, oldest first.
    """
    return [_like_pairs(store, config, own, rounds[:number]) for number, own in enumerate(rounds)]


def _like_pairs(store: Store, config: CurationConfig, own: Manifest, before: Sequence[Manifest]) -> Manifest:
    made_by = embeddings.fingerprint(config.embedding)
    version = cosines.version(config.semantic, made_by)
    purpose = (own.shard or "").removesuffix(f"-{made_by}")
    name = f"{purpose}-{identity.digest(version)[:12]}"
    artifact_key = key("like", own.iteration, name, inputs=[own, *before], versions={"edges": version})

    def build() -> Built:
        ids = store.read("embeddings", [own, *before], ["subject_id"])["subject_id"].combine_chunks()
        rows = embeddings.unit(vectors(store, [own, *before], ids))
        return Built.of("edges", cosines.edges(ids, rows, config.semantic, version, own.rows("embeddings")))

    return run_stage(store, artifact_key, build)
