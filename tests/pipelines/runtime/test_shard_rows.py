"""A shard's rows of a long table: the same whether the table is kept or scanned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.pipelines.runtime import shard_rows as lookup
from ratoon.pipelines.runtime.shard_rows import Lookup
from ratoon.store.store import ArtifactKey, Counts, Manifest, Store

COLUMNS = ["task_id", "answer"]
WANTED = pa.array(["t_07", "t_03", "t_03", "t_nobody"], pa.string())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.writer(tmp_path / "run") as store:
        yield store


def put(store: Store, name: str = "x") -> Manifest:
    columns = {"task_id": [f"t_{i:02}" for i in range(10)], "answer": [f"{name}{i}" for i in range(10)]}
    rows = schema.from_columns("tasks", columns)
    return store.put(ArtifactKey("tasks", config=name), {"tasks": rows}, Counts(10, 10))


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["scanned", "kept"])
def test_rows_come_by_key_in_stored_order_each_once(store: Store, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_KEEP_BYTES", limit)
    found = Lookup(store).rows("tasks", put(store), "task_id", WANTED, COLUMNS)
    assert found.to_pylist() == [{"task_id": "t_03", "answer": "x3"}, {"task_id": "t_07", "answer": "x7"}]


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["scanned", "kept"])
def test_an_artifact_without_rows_gives_none_in_the_right_columns(
    store: Store, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_KEEP_BYTES", limit)
    nothing = store.put(ArtifactKey("tasks"), {"tasks": schema.empty("tasks")}, Counts(0, 0))
    found = Lookup(store).rows("tasks", nothing, "task_id", WANTED, COLUMNS)
    assert found.num_rows == 0
    assert found.column_names == COLUMNS


def test_a_small_table_is_read_once_and_never_taken_for_another(store: Store) -> None:
    one, two, looked = put(store, "x"), put(store, "y"), Lookup(store)
    first = [looked.rows("tasks", m, "task_id", WANTED, COLUMNS)["answer"].to_pylist() for m in (one, two)]
    for manifest in (one, two):
        (store.root / manifest.parts[0].path).unlink()
    assert [looked.rows("tasks", m, "task_id", WANTED, COLUMNS)["answer"].to_pylist() for m in (one, two)] == first
    assert first == [["x3", "x7"], ["y3", "y7"]]
