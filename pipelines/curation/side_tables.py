"""What filters read beside scores: lint numbers, matches with benchmarks, near-duplicates, vectors. Measured once, from text.

Each is a stage of a round, made when a filter asks for it and found ever after: deciding anew measures nothing. Indexes over
rounds are chained: a round's edges are those among its own rollouts and to those of all rounds before it. No model is asked
but the embedding model; Prefect is not known here.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids as identity
from ratoon import schema
from ratoon.config import Config, semantic
from ratoon.filters import FILTERS
from ratoon.filters.lint import LintConfig
from ratoon.hashes import data_of
from ratoon.metrics.embeddings import cosine_pairs as cosines
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.text import contamination, minhash
from ratoon.metrics.text.near_duplicates import Past, near
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.contamination.near_questions import Reviewer
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.curation import other_runs as foreign
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.pipelines.runtime.rollout_set import Crop, earlier
from ratoon.pipelines.runtime.stage import Built, key, release, run_stage
from ratoon.store.store import ArtifactKey, Counts, Manifest, Store

_TEXT = ["rollout_id", "text"]
_AT_ONCE = 8192  # texts embedded, or vectors copied
_MATCHED = 4096  # texts cut into words at once


@dataclass(frozen=True)
class Beside:
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

    def side(self, store: Store, steps: Iterable[tuple[str, Config]]) -> dict[str, Any]:
        """The tables that filters are given, as far as they are read; vectors when a filter asks for some."""
        lint = {name for _, config in steps if isinstance(config, LintConfig) for name in config.columns()}
        past = [store.read("examples", self.past, ["rollout_ids"])["rollout_ids"].combine_chunks().flatten()]
        past += [foreign.kept(root) for root in self.runs or {}]
        return {
            "lint": store.read("lint", self.lint, ["rollout_id", *sorted(lint)]),
            "edges": store.read("edges", self.edges),
            "past": pa.table({"subject_id": pa.chunked_array(past, pa.string())}),
            "vectors": lambda wanted: vectors(store, self.vectors, wanted),
        }


def measured(store: Store, config: CurationConfig, crop: Crop, name: str, kinds: set[str]) -> Beside:
    """What filters of these kinds read, made where it is not there yet; `name` is the dataset whose earlier rounds count."""
    needs = {side for kind in kinds if kind in FILTERS for side in FILTERS[kind].side}
    edges: list[Manifest] = []
    if "decontaminate" in kinds:
        edges.append(matched(store, config, crop))
        if config.review is not None:
            reviewed(store, config, crop, config.review)  # no filter reads it
    crops = [*earlier(store, crop.iteration), crop]
    if "minhash" in kinds:
        edges += near_pairs(store, config, crops)
    vectors = [embedded(store, config, each) for each in crops] if kinds & {"semantic", "dpp"} else []
    if "semantic" in kinds:
        edges += like_pairs(store, config, vectors)
    past = [m for m in store.find("curate") if m.shard == name and (m.iteration or 0) < crop.iteration]
    return Beside(
        linting.lint(store, crop) if "lint" in needs else [], edges, vectors, past if "past" in needs else [],
        foreign.digests(config.runs) if "past" in needs else None,
    )  # fmt: skip


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
    wanted = key("near", crop.iteration, f"train-{version.replace(':', '-')}", inputs=inputs, versions={"edges": version})

    def build() -> Built:
        past = [Past(_signatures(store, manifest), _texts(store, other)) for other, manifest in before]
        past += [foreign.past(root, config.minhash) for root in config.runs]
        texts = ((batch["rollout_id"], batch["text"]) for batch in store.scan("rollouts", crop.rollouts, _TEXT))
        with tempfile.TemporaryDirectory(prefix=".near-", dir=store.root) as folder:
            pairs = near(texts, config.minhash, Path(folder), past)
        return _built("signatures", pairs.signatures, edges=pairs.edges)

    return run_stage(store, wanted, build)


def _signatures(store: Store, manifest: Manifest) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: store.scan("signatures", [manifest])


def _texts(store: Store, crop: Crop) -> Callable[[pa.Array], tuple[pa.Array, pa.Array]]:
    def read(wanted: pa.Array) -> tuple[pa.Array, pa.Array]:
        rows = store.among("rollouts", crop.rollouts, "rollout_id", wanted, _TEXT)
        return rows["rollout_id"].combine_chunks(), rows["text"].combine_chunks()

    return read


def embedded(store: Store, config: CurationConfig, crop: Crop) -> Manifest:
    """Table embeddings: the vector of every rollout that passed."""
    wanted = embed_key(config, crop)

    def build() -> Built:
        made_by = embeddings.fingerprint(config.embedding)
        scores = store.read("scores", crop.scores, ["subject_id", "status"])
        passed = scores.filter(pc.equal(scores["status"], "pass"))["subject_id"].combine_chunks()
        ids, texts = _texts(store, crop)(passed)
        cache = Path(config.cache) if config.cache else None
        rows = [
            embeddings.embed([t or "" for t in texts[start : start + _AT_ONCE].to_pylist()], config.embedding, cache, half=True)
            for start in range(0, len(texts), _AT_ONCE)
        ]
        width = embeddings.width(config.embedding)
        data = np.concatenate([np.zeros((0, width), np.float16), *rows])
        offsets = pa.py_buffer(np.arange(len(ids) + 1, dtype=np.int32) * 2 * width)
        vectors = pa.Array.from_buffers(pa.binary(), len(ids), [None, offsets, pa.py_buffer(data.tobytes())])
        columns = {"subject_id": ids, "version": pa.repeat(made_by, len(ids)), "vector": vectors}
        return _built("embeddings", schema.from_columns("embeddings", columns, len(ids)))

    return run_stage(store, wanted, build)


def embed_key(config: CurationConfig, crop: Crop) -> ArtifactKey:
    """What a round's vectors are made of."""
    made_by = embeddings.fingerprint(config.embedding)
    inputs = [*crop.rollouts, *crop.scores]
    return key("embed", crop.iteration, f"train-{made_by}", inputs=inputs, versions={"model": made_by})


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
    version = cosines.version(config.semantic, embeddings.fingerprint(config.embedding))
    name = f"train-{identity.digest(version)[:12]}"
    wanted = key("like", own.iteration, name, inputs=[own, *before], versions={"edges": version})

    def build() -> Built:
        ids = store.read("embeddings", [own, *before], ["subject_id"])["subject_id"].combine_chunks()
        rows = embeddings.unit(vectors(store, [own, *before], ids))
        return _built("edges", cosines.edges(ids, rows, config.semantic, version, own.rows("embeddings")))

    return run_stage(store, wanted, build)


def matched(store: Store, config: CurationConfig, crop: Crop) -> Manifest:
    """Table edges: tasks and rollouts that hold an item of a held-out task or of a configured benchmark."""
    frozen = benchmarks.frozen(store, config.against)
    inputs = [*crop.pool, *crop.rollouts, *([frozen] if frozen else [])]
    wanted = key(
        "matched", crop.iteration, "train", config=semantic(config.contamination), inputs=inputs,
        versions={"matches": contamination.VERSION},
    )  # fmt: skip

    def build() -> Built:
        ids, said, items = _compared(store, crop, frozen)
        index = contamination.build(items, config.contamination)
        found = [contamination.matches(index, ids, said)]
        for whole in store.scan("rollouts", crop.rollouts, _TEXT):
            for batch in (whole.slice(start, _MATCHED) for start in range(0, whole.num_rows, _MATCHED)):
                found.append(contamination.matches(index, batch["rollout_id"], batch["text"]))
        return _built("edges", pa.concat_tables(found), {"index": index.digest, "items": index.items.num_rows})

    return run_stage(store, wanted, build)


def reviewed(store: Store, config: CurationConfig, crop: Crop, near: float) -> Manifest:
    """Table edges of kind `review`: training tasks and right rollouts near a held-out or benchmark question by embeddings."""
    own, frozen = embedded(store, config, crop), benchmarks.frozen(store, config.against)
    inputs = [own, *crop.pool, *([frozen] if frozen else [])]
    wanted = key("review", crop.iteration, "train", config={"near": near}, inputs=inputs)

    def build() -> Built:
        ids, said, items = _compared(store, crop, frozen)
        cache = Path(config.cache) if config.cache else None
        reviewer = Reviewer(items, near, config.embedding, cache)
        asked = embeddings.embed([text or "" for text in said.to_pylist()], config.embedding, cache)
        rollouts = store.read("embeddings", [own], ["subject_id"])["subject_id"].combine_chunks()
        replies = embeddings.unit(vectors(store, [own], rollouts))
        found = pa.concat_tables([reviewer.edges(ids, asked), reviewer.edges(rollouts, replies)])
        return _built("edges", found, {"questions": len(reviewer.names)})

    return run_stage(store, wanted, build)


def _compared(store: Store, crop: Crop, frozen: Manifest | None) -> tuple[pa.Array, pa.Array, pa.Table]:
    """Training tasks and what they ask, and the items of held-out tasks and of the frozen benchmarks."""
    tasks = store.read("tasks", crop.pool, ["task_id", "split", "messages", "answer"])
    said = pa.array([_question(messages) for messages in tasks["messages"].to_pylist()], pa.string())
    held = pc.and_(pc.is_valid(tasks["split"]), pc.not_equal(tasks["split"], "train")).combine_chunks()
    items = [benchmarks.held_out(tasks.filter(held), said.filter(held))]
    items += [store.read("benchmarks", [frozen])] if frozen else []
    asked = pc.invert(held)
    return tasks["task_id"].combine_chunks().filter(asked), said.filter(asked), pa.concat_tables(items)


def _question(messages: list[dict[str, str]] | None) -> str:
    return "\n".join(m["content"] or "" for m in messages or [] if m["role"] == "user")


def _built(table: str, rows: pa.Table, extra: dict[str, Any] | None = None, **more: pa.Table) -> Built:
    return Built({table: rows, **more}, Counts(rows.num_rows, rows.num_rows), extra or {})
