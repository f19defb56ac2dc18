"""Parts written before a table got a column are read with nulls in it; a part without its keys is damaged."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import schema
from ratoon.errors import CorruptPart
from ratoon.messages import user
from ratoon.store import digests, parts
from ratoon.store.manifest import Part

ADDED = ["master_digest", "start_digest"]
POLICIES = schema.from_rows("policies", [{"policy_id": "m_1", "iteration": 1}, {"policy_id": "m_2", "iteration": 2}])


def without(root: Path, columns: list[str]) -> Part:
    """The policies as an older schema wrote them."""
    path = root / "policies-000.parquet"
    pq.write_table(POLICIES.drop_columns(columns), path)
    data = path.read_bytes()
    return Part("policies", path.name, POLICIES.num_rows, len(data), sha256(data).hexdigest())


@pytest.mark.parametrize("columns", [None, ["iteration", "master_digest"], ADDED])
def test_a_column_that_came_later_is_null_in_an_old_part(tmp_path: Path, columns: list[str] | None) -> None:
    part, wanted = without(tmp_path, ADDED), parts.projected("policies", columns)
    (batch,) = parts.batches(tmp_path, part, wanted)
    assert batch.schema.equals(wanted)
    assert batch.to_pylist() == POLICIES.select(wanted.names).to_pylist()
    assert parts.dataset("policies", tmp_path, [part]).to_table().select(wanted.names).to_pylist() == batch.to_pylist()


def test_a_part_without_its_key_is_damaged(tmp_path: Path) -> None:
    part = without(tmp_path, ["policy_id"])
    with pytest.raises(CorruptPart, match="policies-000"):
        list(parts.batches(tmp_path, part, parts.projected("policies", None)))


def test_columns_that_came_later_are_in_no_digest() -> None:
    keys, volatile = schema.KEYS["policies"], schema.VOLATILE["policies"]
    old = digests.content_digest(POLICIES.drop_columns(ADDED), keys, volatile)
    assert digests.content_digest(POLICIES, keys, volatile) == old


OLD_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TASKS = schema.from_rows("tasks", [{"task_id": f"t_{i}", "messages": m} for i, m in enumerate(([user("q")], [], None))])


def old_tasks() -> pa.Table:
    """The tasks as they were before messages had more fields and tasks had tools."""
    at = TASKS.schema.get_field_index("messages")
    return TASKS.set_column(at, "messages", TASKS["messages"].cast(OLD_MESSAGES)).drop_columns(["tools"])


def test_messages_of_an_old_part_have_null_where_it_has_no_field(tmp_path: Path) -> None:
    path = tmp_path / "tasks-000.parquet"
    pq.write_table(old_tasks(), path)
    data = path.read_bytes()
    part = Part("tasks", path.name, TASKS.num_rows, len(data), sha256(data).hexdigest())
    (batch,) = parts.batches(tmp_path, part, parts.projected("tasks", None))
    assert batch.to_pylist() == TASKS.to_pylist()
    assert parts.dataset("tasks", tmp_path, [part]).to_table().to_pylist() == TASKS.to_pylist()


def test_unused_fields_of_messages_are_in_no_digest_and_used_ones_are() -> None:
    def digest(table: pa.Table) -> str:
        return digests.content_digest(table, schema.KEYS["tasks"], frozenset())

    assert digest(TASKS) == digest(old_tasks())
    assert digest(TASKS.slice(0, 0)) == digest(old_tasks().slice(0, 0))
    rows = TASKS.to_pylist()
    named = [rows[0] | {"messages": [user("q") | {"name": "Ann"}]}, *rows[1:]]
    tooled = [rows[0] | {"tools": "[]"}, *rows[1:]]
    assert len({digest(schema.from_rows("tasks", each)) for each in (rows, named, tooled)}) == 3
