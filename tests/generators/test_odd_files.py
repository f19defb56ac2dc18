"""Files with odd values and of odd kinds: a task source and an import read them, or say what is wrong; neither breaks."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import config
from ratoon.errors import DataError
from ratoon.generators import imported
from ratoon.generators.tasks.dataset import DatasetConfig, propose

N = 10
ROWS = [{"prompt": f"What is {i} + 1?", "completion": f"It is {i + 1}."} for i in range(N)]
MOMENT = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
ODD = {
    "a large round": 20261201020000, "a number beyond 64 bits": 10**19, "epoch milliseconds": 1_780_000_000_000,
    "a megabyte": "x" * 1_000_000, "a nested object": {"a": [1, {"b": None}]}, "not a number": float("nan"),
}  # fmt: skip
TYPED = {
    "half floats": pa.array(np.linspace(0, 1, N, dtype=np.float16)),
    "wide decimals": pa.array([decimal.Decimal("1.10")] * N, pa.decimal256(60, 2)),
    "bytes": pa.array([b"\x89PNG\xff"] * N),
    "moments": pa.array([MOMENT] * N, pa.timestamp("ns", "UTC")),
    "the year 20261": pa.array([10**15] * N, pa.timestamp("s")),
    "categories": pa.array(["a"] * N).dictionary_encode(),
}  # fmt: skip
CSV = "prompt;completion\n" + "".join(f"{row['prompt']};{row['completion']} café\n" for row in ROWS)
FILES: dict[str, bytes] = {
    "wide.csv": ("prompt,completion\n" + "".join(f"q{i},{'x' * 140_000}\n" for i in range(N))).encode(),
    "utf16.csv": CSV.encode("utf-16"),
    "latin1.csv": CSV.encode("latin-1"),
    "marked.csv": CSV.encode("utf-8-sig"),
    "pretty.jsonl": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "under_a_key.json": json.dumps({"version": "1", "data": ROWS}).encode(),
    "by_column.json": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}).encode(),
}
READERS = {
    "task source": lambda path: propose(config.parse(DatasetConfig, {"path": str(path), "columns": {"answer": ""}}, "t"), 0)
    .tasks.num_rows,
    "import": lambda path: len(imported.read(path, imported.column_map(path)).rows),
}  # fmt: skip
Reader = Callable[[Path], int]
reader = pytest.mark.parametrize("count", READERS.values(), ids=READERS)


@reader
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_an_odd_value_of_another_column_changes_nothing(count: Reader, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row | {"round": value, "num_tokens": value}) + "\n" for row in ROWS))
    assert count(path) == N


@reader
@pytest.mark.parametrize("column", TYPED.values(), ids=TYPED)
def test_an_odd_type_of_another_column_changes_nothing(count: Reader, column: pa.Array, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS).append_column("odd", column)
    pq.write_table(table, tmp_path / "odd.parquet")
    assert count(tmp_path / "odd.parquet") == N


@reader
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_another_program_wrote_it(count: Reader, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    assert count(tmp_path / name) == N


@reader
@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({}), "its columns are none"),
        (pa.Table.from_arrays([["q"], ["a"], ["b"]], ["prompt", "completion", "completion"]), "names twice: completion"),
        (pa.table({"prompt": pa.array([], pa.string()), "completion": pa.array([], pa.string())}), "holds no row"),
    ],
    ids=["no columns", "two columns of one name", "no rows"],
)
def test_a_table_that_cannot_be_read_says_why(count: Reader, table: pa.Table, said: str, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=said):
        count(tmp_path / "odd.parquet")


@pytest.mark.parametrize("name", ["temperature", "top_k", "max_tokens"])
@pytest.mark.parametrize("value", [10**400, 10**19, "many", [1]])
def test_an_impossible_sampling_number_costs_its_row(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS[0], ROWS[1] | {name: value})))
    rows, bad, _ = imported.read(path, imported.column_map(path))
    assert len(rows) == 1
    assert name in bad[0][1]


def test_replies_without_a_prompt_are_refused_for_their_prompt(tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text(json.dumps({"uuid": "a", "generations": ["4", "It is 4."]}) + "\n")
    with pytest.raises(DataError, match="has no column 'prompt'"):
        imported.column_map(path)
