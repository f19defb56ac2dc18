"""Any changed column of a row is a change, told by column; another spelling of one value is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines.audit.diff import diff
from ratoon.pipelines.audit.row_changes import RowChanges, row_changes

Row = dict[str, Any]
N = 30
CALL = {"function": {"name": "get_weather", "arguments": "{}"}}


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def alpaca(i: int) -> Row:
    return {"instruction": "Sort the words.", "input": f"w{i} v{i}", "output": f"v{i} w{i}", "extra": i, "note": "x"}


def tool(i: int, name: str = "get_weather") -> Row:
    call = {"function": CALL["function"] | {"name": name}}
    asked = {"role": "user", "content": f"Weather in town {i}?"}
    return {"messages": [asked, {"role": "assistant", "content": None, "tool_calls": [call]}]}


def pair(i: int) -> Row:
    return {"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": "No.", "answer": str(i)}


CHANGES: dict[str, tuple[Callable[[int], Row], Callable[[Row], Row], str]] = {
    "input": (alpaca, lambda row: row | {"input": row["input"] + "!"}, "input"),
    "rejected": (pair, lambda row: row | {"rejected": "Never."}, "rejected"),
    "gold": (pair, lambda row: row | {"answer": "none"}, "answer"),
    "tool call": (
        lambda i: tool(i),
        lambda row: tool(int(row["messages"][0]["content"][16:-1]), "delete_all_files"),
        "tool calls",
    ),
    "other column": (alpaca, lambda row: row | {"extra": -1}, "extra"),
    "column gone": (alpaca, lambda row: {k: v for k, v in row.items() if k != "note"}, "note"),
    "reply": (pair, lambda row: row | {"chosen": "It is so."}, "completion"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_changed_column_is_told(tmp_path: Path, name: str) -> None:
    row, change, column = CHANGES[name]
    rows = [row(i) for i in range(N)]
    a, b = lines(tmp_path / "a.jsonl", rows), lines(tmp_path / "b.jsonl", [change(one) for one in rows][::-1])
    assert row_changes(a, b, {}) == RowChanges(N, {column: N}, {})
    found = diff(str(a), str(b), ["rows_changed>0.05"])
    assert found.failed
    assert found.told["rows"]["changed"] == N


def test_null_and_empty_and_forms_of_a_number_are_no_change_but_told(tmp_path: Path) -> None:
    rows = [pair(i) | {"n": 1, "more": None} for i in range(N)]
    a = lines(tmp_path / "a.jsonl", rows)
    b = lines(tmp_path / "b.jsonl", [row | {"n": 1.0, "more": ""} for row in rows])
    assert row_changes(a, b, {}) == RowChanges(0, {}, {"more": N, "n": N})
    assert row_changes(a, a, {}) == RowChanges(0, {}, {})


def test_rows_are_paired_by_their_ids_where_they_have_them(tmp_path: Path) -> None:
    rows = [pair(i) | {"id": f"r{i}"} for i in range(N)]
    moved = [row | {"prompt": rows[i - 1]["prompt"]} for i, row in enumerate(rows)]
    assert row_changes(lines(tmp_path / "a.jsonl", rows), lines(tmp_path / "b.jsonl", moved), {}).columns == {"prompt": N}


def test_one_content_in_two_layouts_and_kinds_is_no_change(tmp_path: Path) -> None:
    a = lines(tmp_path / "a.jsonl", [{"prompt": f"What is {i}?", "completion": f"It is {i}."} for i in range(N)])
    b = tmp_path / "b.json"
    chats = [
        {"conversations": [{"from": "human", "value": f"What is {i}?"}, {"from": "gpt", "value": f"It is {i}."}]}
        for i in range(N)
    ]
    b.write_text(json.dumps(chats))
    c = tmp_path / "c.csv"
    c.write_text("question,response\n" + "".join(f"What is {i}?,It is {i}.\n" for i in range(N)))
    for other in (b, c):
        assert row_changes(a, other, {}) == RowChanges(0, {}, {})
