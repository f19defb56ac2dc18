"""The few rows a shard needs of a table as long as the run; knows no stage.

A shard must not cost more because the run has more shards, and memory is bounded by shards, not by runs: a table that is
small on disk is read once and kept, a larger one is scanned by row groups and only what matches is held.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.pipelines.runtime.stage import Manifests, several
from ratoon.store import parts
from ratoon.store.store import Manifest, Store

_KEEP_BYTES = 16 << 20  # as it lies on disk; a few times that in memory
_KEEP_TABLES = 2


class Lookup:
    """Rows by key from committed artifacts, which never change. Safe for many threads."""

    def __init__(self, store: Store) -> None:
        self._store, self._mutex = store, threading.Lock()
        self._kept: dict[tuple[str, ...], pa.Table] = {}

    def __reduce__(self) -> tuple[type[Lookup], tuple[Store]]:
        return Lookup, (self._store,)

    def rows(self, table: str, manifests: Manifests, key: str, wanted: pa.Array, columns: Sequence[str]) -> pa.Table:
        """The rows whose `key` is in `wanted`, in stored order, with `columns` (`key` among them)."""
        found = [self._rows(table, manifest, key, wanted, columns) for manifest in several(manifests)]
        return found[0] if len(found) == 1 else pa.concat_tables([parts.projected(table, columns).empty_table(), *found])

    def _rows(self, table: str, manifest: Manifest, key: str, wanted: pa.Array, columns: Sequence[str]) -> pa.Table:
        if sum(part.bytes for part in self._store.parts_of(table, [manifest])) <= _KEEP_BYTES:
            whole = self._whole(table, manifest, columns)
            return whole.filter(pc.is_in(whole[key], value_set=wanted))
        return self._store.among(table, [manifest], key, wanted, columns)

    def _whole(self, table: str, manifest: Manifest, columns: Sequence[str]) -> pa.Table:
        name = (table, manifest.artifact_id, *columns)
        with self._mutex:
            if name not in self._kept:
                while len(self._kept) >= _KEEP_TABLES:
                    del self._kept[next(iter(self._kept))]
                self._kept[name] = self._store.read(table, [manifest], columns)
            return self._kept[name]
