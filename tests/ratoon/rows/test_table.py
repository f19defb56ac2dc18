"""Rows of any kind as one table of a query: types are kept or widened, and nothing ends in a traceback."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ratoon.cli.app import app
from ratoon.cli.rows_file import RowsFile
from ratoon.errors import DataError

ROWS = [{"prompt": f"p{i}", "n": i, "passed": i % 2 == 0} for i in range(6)]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    table = pa.Table.from_pylist(ROWS)
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "arrow":
        feather.write_feather(table, str(path), compression="uncompressed")
    elif kind == "csv":
        path.write_text("prompt,n,passed\n" + "".join(f"{r['prompt']},{r['n']},{r['passed']}\n" for r in ROWS))
    else:
        path.write_text(json.dumps(ROWS) if kind == "json" else "".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "json", "jsonl"])
def test_numbers_and_truths_of_every_kind_of_file_can_be_counted_with(tmp_path: Path, kind: str) -> None:
    out = RowsFile(written(tmp_path, kind)).render("select sum(n) as n, count(*) as rows from rows where passed", "json")
    assert json.loads(out) == [{"n": 6, "rows": 3}]


def test_several_files_are_tables_called_as_they_are(tmp_path: Path) -> None:
    files = [
        str(written(tmp_path / name, kind)) for name, kind in (("x", "csv"), ("y", "jsonl")) if not (tmp_path / name).mkdir()
    ]
    told = CliRunner().invoke(app, ["sql", *files, "select count(*) as n from a join a_2 using (prompt)", "--format", "json"])
    assert json.loads(told.stdout) == [{"n": 6}]
    assert told.stderr.splitlines() == ["a: 6 rows of a.csv", "a_2: 6 rows of a.jsonl"]


def test_types_no_engine_of_queries_has_are_widened(tmp_path: Path) -> None:
    odd = pa.table(
        {
            "half": pa.array(np.ones(3, np.float16)),
            "dec": pa.array([Decimal("1.10")] * 3, pa.decimal256(60, 2)),
            "nested": pa.array([[{"h": np.float16(2)}]] * 3, pa.list_(pa.struct([("h", pa.float16())]))),
        }
    )
    pq.write_table(odd, tmp_path / "a.parquet")
    out = RowsFile(tmp_path / "a.parquet").render("select sum(half) h, min(dec) d, min(nested[1].h) n from rows", "json")
    assert json.loads(out) == [{"h": 3.0, "d": "1.10", "n": 2.0}]


def test_rows_without_a_column_can_be_counted(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_struct_array(pa.array([{}] * 4, pa.struct([]))), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("{}\n{}\n")
    counted = [RowsFile(tmp_path / name).render("select count(*) as n from rows", "json") for name in ("a.parquet", "b.jsonl")]
    assert [json.loads(out)[0]["n"] for out in counted][1] == 2


def test_whole_numbers_of_any_size_and_unlike_values_stay_what_they_are(tmp_path: Path) -> None:
    rows = [{"n": 10**19, "v": 1, "zip": "007"}, {"n": 1, "v": [1], "zip": "008"}, {"n": 2, "late": "x"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = RowsFile(tmp_path / "a.jsonl").render(
        "select max(n)::varchar as n, min(v) as v, min(zip) as zip, max(late) as late from rows", "json"
    )
    assert json.loads(out) == [{"n": str(10**19), "v": "1", "zip": "007", "late": "x"}]


def test_a_file_that_is_mostly_unreadable_or_has_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\nno\nno\n')
    with pytest.raises(DataError, match="2 of 3 rows could not be read"):
        RowsFile(tmp_path / "a.jsonl")
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column names twice: a"):
        RowsFile(tmp_path / "b.parquet")
