"""Files and folders: what is read, what is left out and told, and no traceback on odd bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.errors import DataError, RatoonError
from ratoon.rows.labels import verdicts
from ratoon.rows.record import columns, records
from ratoon.rows.rows import open_rows

TABLE = "prompt,completion\nWhat is 2 + 2?,It is 4\nWhere?,Café\n"


def lines(path: Path, n: int, word: str = "row") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": f"{word} {i}", "completion": "x"}) + "\n" for i in range(n)))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_of_a_table_are_found_and_told(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TABLE.replace(",", delimiter).replace("é", "é“" if encoding == "cp1252" else "é").encode(encoding))
    rows = open_rows(path)
    found = [item.row for item in rows.items()]
    assert found[0] == {"prompt": "What is 2 + 2?", "completion": "It is 4"}
    assert found[1]["completion"].startswith("Café")
    assert ("delimiter" in rows.reading.line()) == (delimiter != ",")
    assert (f"is {encoding}" in rows.reading.line()) == (not encoding.startswith("utf-8"))


def test_one_bad_byte_of_a_utf8_table_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\né,1\n".encode() + b"\xff,2\n3,3\n")
    rows = open_rows(path)
    assert [item.where for item in rows.items() if item.problem is None] == ["a.csv:row 2", "a.csv:row 4"]
    assert rows.reading.first_unreadable == "a.csv:row 3: not valid UTF-8"


def test_a_field_of_a_megabyte_is_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,completion\nlong,{'x' * 1_000_000}\n")
    assert len(next(open_rows(path).items()).row["completion"]) == 1_000_000


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('[{"a": 1}, {"a": 2}]', 2),
        ('{"a": 1}\n{"a": 2}\n', 2),
        ('{\n "a": 1\n}\n{\n "a": 2\n}\n', 2),
        ('{"version": "1", "data": [{"a": 1}, {"a": 2}]}', 2),
        ('{"a": {"0": 1, "1": 2}, "b": {"0": 3, "1": 4}}', 2),
        ('{"columns": ["a"], "index": [0, 1], "data": [[1], [2]]}', 2),
        ('{"messages": [{"role": "user", "content": "one row"}]}', 1),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_every_form_of_json_gives_its_rows_whatever_its_suffix(tmp_path: Path, content: str, rows: int, name: str) -> None:
    (tmp_path / name).write_text(content)
    assert sum(item.problem is None for item in open_rows(tmp_path / name).items()) == rows


def test_lists_by_column_are_a_table_in_json_and_one_row_among_lines(tmp_path: Path) -> None:
    for name, rows in (("a.json", 2), ("a.jsonl", 1)):
        (tmp_path / name).write_text('{"a": [1, 2], "b": [3, 4]}')
        assert sum(1 for _ in open_rows(tmp_path / name).items()) == rows


def test_a_folder_reads_all_its_files_and_names_every_one_it_does_not(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", 10)
    lines(tmp_path / "synthetic.jsonl", 50)
    lines(tmp_path / "extra" / "part-0.jsonl", 20)
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "README.md").write_text("# A folder")
    rows = open_rows(tmp_path)
    assert sum(1 for _ in rows.items()) == rows.reading.rows == 80
    assert rows.reading.left_out == {"book.xlsx": ".xlsx is not read", "notes.txt": "text beside tables"}
    assert "book.xlsx (.xlsx is not read)" in rows.reading.line()


def test_the_files_of_a_card_are_read_by_split_and_config(tmp_path: Path) -> None:
    lines(tmp_path / "abc.jsonl", 3)
    lines(tmp_path / "holdout" / "ghi.jsonl", 2)
    lines(tmp_path / "other.jsonl", 5)
    lines(tmp_path / "stray.jsonl", 7)
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  default: true\n  data_files:\n  - split: train\n    path: abc.jsonl\n"
        "  - split: test\n    path: holdout/*.jsonl\n- config_name: other\n  data_files: other.jsonl\n---\n# Card\n"
    )
    rows = open_rows(tmp_path)
    found = [(item.split, item.where) for item in rows.items()]
    assert found[2:4] == [("train", "abc.jsonl:3"), ("test", "holdout/ghi.jsonl:1")]
    assert rows.reading.left_out == {"other.jsonl": "config other", "stray.jsonl": "not in the card's data_files"}
    assert "config main (not read: other)" in rows.reading.line()
    assert sum(1 for _ in open_rows(tmp_path, split="test").items()) == 2
    assert sum(1 for _ in open_rows(f"{tmp_path}:other").items()) == 5
    with pytest.raises(DataError, match="no split 'dev'"):
        open_rows(tmp_path, split="dev")
    with pytest.raises(DataError, match="no config 'more'"):
        open_rows(tmp_path, config="more")


def test_what_save_to_disk_lists_is_read_and_nothing_else(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}] * 3)
    datasets.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(str(tmp_path / "disk"))
    (tmp_path / "disk" / "train" / "cache-0.arrow").write_bytes(b"left over")
    rows = open_rows(tmp_path / "disk")
    assert sum(1 for _ in rows.items()) == 4
    assert rows.splits == ["train", "test"]
    assert rows.reading.left_out == {"train/cache-0.arrow": "not in state.json"}


def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["p"]), pa.array(["c"]), pa.array(["d"])], ["prompt", "completion", "completion"])
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("completion,completion\na,b\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(DataError, match="twice: completion"):
            open_rows(tmp_path / name).columns()


def test_odd_types_are_values_or_null_and_never_a_traceback(tmp_path: Path) -> None:
    odd = {
        "half": pa.array([1.5], pa.float16()), "big": pa.array([Decimal(7)], pa.decimal256(60, 2)),
        "late": pa.array([10**14], pa.timestamp("s")), "raw": pa.array([b"\x89PNG"]), "none": pa.nulls(1),
        "at": pa.array([1_700_000_000_000], pa.timestamp("ms")),
    }  # fmt: skip
    pq.write_table(pa.table(odd | {"prompt": ["p"], "completion": ["c"]}), tmp_path / "a.parquet", store_schema=True)
    pq.write_table(pa.table({}), tmp_path / "none.parquet")
    rows = open_rows(tmp_path / "a.parquet")
    (found,) = records(rows.items(), columns(rows))
    assert found.texts == ["c"]
    assert open_rows(tmp_path / "none.parquet").columns() == []


@pytest.mark.parametrize(
    "name", ["a.parquet", "a.arrow", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.jsonl.gz", "a.csv.zst"]
)
@settings(max_examples=40, deadline=None)
@given(content=st.one_of(st.binary(max_size=60), st.text(alphabet='{}[]":,\n\t;a1é', max_size=60).map(str.encode)))
def test_any_bytes_are_rows_or_an_error_that_says_what(tmp_path_factory: Any, name: str, content: bytes) -> None:
    path = tmp_path_factory.mktemp("odd") / name
    path.write_bytes(content)
    message = name
    try:
        rows = open_rows(path)
        list(records(rows.items(), columns(rows)))
        rows.reading.line()
    except RatoonError as error:
        message = error.message
    assert name in message


def test_half_of_the_rows_unreadable_is_a_stop_and_fewer_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\nbroken\n')
    rows = open_rows(path)
    list(rows.items())
    rows.reading.check()
    path.write_text('{"a": 1}\n{"a": 1}\nbroken\nbroken\n')
    rows = open_rows(path)
    list(rows.items())
    with pytest.raises(DataError, match=r"2 of 4 rows could not be read, the first a\.jsonl:3: not JSON"):
        rows.reading.check()


@pytest.mark.parametrize(
    ("values", "passed", "told"),
    [
        (["True", "FALSE", "yes", "no", "1", "0", ""], [True, False, True, False, True, False, None], None),
        ([1.0, 0.0, None], [True, False, None], None),
        ([0.2, 0.5, 1], [False, True, True], "from 0.5 on it is true"),
        ([-1, 1], [False, True], "-1 is false, 1 is true"),
        ([0, 1, 2, 3], [None] * 4, "has 4 classes (0, 1, 2, 3), so it is no verdict"),
        (["good", "bad"], [None] * 2, "has 2 classes (bad, good), so it is no verdict"),
    ],
)
def test_labels_are_verdicts_as_people_write_them(values: list[object], passed: list[bool | None], told: str | None) -> None:
    assert verdicts(values) == (passed, told)
