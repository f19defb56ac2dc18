"""What other runs hold, for near-duplicates across runs: read only, ids behind their run's id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.metrics.text.minhash import MinHashConfig, sign, version
from ratoon.metrics.text.near_duplicates import KIND, Past
from ratoon.store.store import Manifest, Store

_TEXT = ["rollout_id", "text"]


def digests(roots: Sequence[str]) -> dict[str, str]:
    """Each run's digest of its training rollouts and of what its datasets hold. Raises StoreError where there is no run."""
    by_run = {}
    for root in roots:
        store = Store.open(Path(root))
        used = [m.content_digest for m in [*_rollouts(store), *_default(store)]]
        by_run[root] = ids.digest([store.run_id, *sorted(used)])
    return by_run


def kept(root: str) -> pa.Array:
    """Ids of the rollouts that a run's default datasets hold."""
    store = Store.open(Path(root))
    rollouts = store.read("examples", _default(store), ["rollout_ids"])["rollout_ids"].combine_chunks().flatten()
    return _named(store, rollouts)


def past(root: str, config: MinHashConfig) -> Past:
    """A run's rollouts as earlier texts: its stored signatures, or, where it has none of this version, made from its texts."""
    store = Store.open(Path(root))
    prefix = f"{store.run_id}/"

    def signatures() -> Iterator[pa.Table]:
        stored = [m for m in store.find("near") if m.rows("signatures") and _version_of(store, m) == version(config)]
        for batch in store.scan("signatures", stored) if stored else ():
            rows = pa.Table.from_batches([batch])
            at = rows.schema.get_field_index("subject_id")
            yield rows.set_column(at, "subject_id", _named(store, rows["subject_id"]))
        for batch in () if stored else store.scan("rollouts", _rollouts(store), _TEXT):
            yield _signed(_named(store, batch["rollout_id"]), batch["text"], config)

    def texts(ids: pa.Array) -> tuple[pa.Array, pa.Array]:
        bare = pc.utf8_slice_codeunits(ids, len(prefix))
        batches = (b.filter(pc.is_in(b["rollout_id"], value_set=bare)) for b in store.scan("rollouts", _rollouts(store), _TEXT))
        rows = pa.Table.from_batches(batches, schema.empty("rollouts").select(_TEXT).schema).combine_chunks()
        return _named(store, rows["rollout_id"].combine_chunks()), rows["text"].combine_chunks()

    return Past(signatures, texts)


def _signed(names: pa.Array, texts: pa.Array, config: MinHashConfig) -> pa.Table:
    signatures, _ = sign(texts, config)
    bands = pa.array(list(signatures.bands.view("int32")), pa.list_(pa.int32()))
    columns = {"subject_id": names, "kind": pa.repeat(KIND, len(names)), "version": pa.repeat(version(config), len(names)),
               "size": pa.array(signatures.counts, pa.int32()), "bands": bands}  # fmt: skip
    return schema.from_columns("signatures", columns, len(names))


def _version_of(store: Store, manifest: Manifest) -> str | None:
    first = next(iter(store.scan("signatures", [manifest], ["version"])), None)
    return None if first is None else first["version"][0].as_py()


def _rollouts(store: Store) -> list[Manifest]:
    return [m for m in store.find("rollouts") if (m.shard or "").startswith("train")]


def _default(store: Store) -> list[Manifest]:
    return [m for m in store.find("curate") if m.shard == "default"]


def _named(store: Store, ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.binary_join_element_wise(pa.scalar(store.run_id), ids.cast(pa.string()), "/")
