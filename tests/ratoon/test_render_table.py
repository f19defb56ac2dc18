"""One answer, four formats, each as its readers expect it."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon.errors import UsageError
from ratoon.render_table import render

TABLE = pa.table(
    {
        "id": ["a", 'b,"c"', ""],
        "n": pa.array([1, None, -3], pa.int32()),
        "sum": pa.array([Decimal(10), Decimal(2**70), None], pa.decimal128(38, 0)),
        "rate": [0.1, float("nan"), None],
        "ok": [True, False, None],
        "ids": [[1, 2], [], None],
        "said": [{"role": "user", "content": "é\n"}, None, {"role": None, "content": ""}],
    }
)


def test_csv_is_golden() -> None:
    assert render(TABLE, "csv") == (
        "id,n,sum,rate,ok,ids,said\n"
        'a,1,10,0.1,true,"[1,2]","{""role"":""user"",""content"":""é\\n""}"\n'
        f'"b,""c""",,{2**70},nan,false,[],\n'
        '"",-3,,,,,"{""role"":null,""content"":""""}"\n'
    )


def test_csv_is_read_by_a_csv_reader() -> None:
    table = pa.table({"x": ["a\nb", " pad ", "c,d", '"', "\r"], "y,z": [1, 2, 3, 4, 5]})
    rows = list(csv.reader(io.StringIO(str(render(table, "csv")), newline="")))
    assert rows == [["x", "y,z"], ["a\nb", "1"], [" pad ", "2"], ["c,d", "3"], ['"', "4"], ["\r", "5"]]


def test_json_is_a_list_of_objects_with_plain_values() -> None:
    rows = json.loads(render(TABLE, "json"))
    assert rows[0] == {
        "id": "a",
        "n": 1,
        "sum": 10,
        "rate": 0.1,
        "ok": True,
        "ids": [1, 2],
        "said": {"role": "user", "content": "é\n"},
    }
    assert rows[1]["sum"] == 2**70
    assert rows[1]["rate"] is None
    assert rows[1]["n"] is None


def test_two_columns_of_one_name_are_both_kept() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["task_id", "task_id", "task_id_1"])
    assert json.loads(render(table, "json")) == [{"task_id": 1, "task_id_2": 2, "task_id_1": 3}]


def test_parquet_is_the_table_itself() -> None:
    data = render(TABLE, "parquet")
    assert isinstance(data, bytes)
    assert repr(pq.read_table(io.BytesIO(data)).to_pylist()) == repr(TABLE.to_pylist())


def test_the_grid_fits_its_width_and_shows_null_as_null() -> None:
    grid = str(render(TABLE, "table", width=100))
    assert max(map(len, grid.splitlines())) <= 100
    assert "null" in grid
    assert "[1,2]" in grid
    assert "\n" not in grid.replace("\n", "", grid.count("\n"))


def test_what_a_model_wrote_cannot_play_with_the_terminal() -> None:
    table = pa.table({"text": ["\x1b[2Jwiped\r\u202eabc [red]x[/red]\nnext"]})
    grid = str(render(table, "table", width=100))
    assert "wipedabc [red]x[/red]\\nnext" in grid
    assert "\x1b" not in grid
    assert "\u202e" not in grid


def test_a_long_answer_says_how_much_it_does_not_show() -> None:
    grid = str(render(pa.table({"i": range(1000)}), "table", width=80))
    assert "50 of 1000 rows" in grid


def test_no_rows_still_have_a_header() -> None:
    empty = TABLE.slice(0, 0)
    assert render(empty, "csv") == "id,n,sum,rate,ok,ids,said\n"
    assert json.loads(render(empty, "json")) == []
    assert "rate" in str(render(empty, "table", width=100))


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'xml'") as caught:
        render(TABLE, "xml")
    assert "parquet" in caught.value.hint
