"""One content in every layout and kind of file is read as the same rows."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from ratoon.errors import ConfigError, DataError
from ratoon.rows.layouts import LAYOUTS
from ratoon.rows.record import Record, columns, digest, records
from ratoon.rows.rows import open_rows

PAIRS = [
    (f"How many apples are {i} and {i + 1} apples, all told?", f"There are {2 * i + 1} apples, é, «{i}».") for i in range(6)
]
Row = dict[str, Any]


def chat(asked: str, reply: str) -> list[Row]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]


IN_LAYOUT: dict[str, Callable[[str, str], Row]] = {
    "prompt and completion": lambda p, c: {"prompt": p, "completion": c},
    "prompt and completion as turns": lambda p, c: {"prompt": chat(p, c)[:1], "completion": chat(p, c)[1:]},
    "messages": lambda p, c: {"messages": chat(p, c)},
    "messages of parts": lambda p, c: {
        "messages": [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in chat(p, c)]
    },
    "messages as JSON text": lambda p, c: {"messages": json.dumps(chat(p, c))},
    "messages as a struct of lists": lambda p, c: {"messages": {"role": ["user", "assistant"], "content": [p, c]}},
    "ShareGPT": lambda p, c: {"conversations": [{"from": "human", "value": p}, {"from": "chatgpt", "value": c}]},
    "Alpaca": lambda p, c: {"instruction": p, "input": "", "output": c},
    "Dolly": lambda p, c: {"instruction": p, "context": None, "response": c, "category": "sums"},
    "OpenMathInstruct": lambda p, c: {"problem": p, "generated_solution": c},
    "code": lambda p, c: {"text": p, "code": c},
    "generations": lambda p, c: {"problem": p, "generations": [c]},
}


def write_json_lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows: list[Row], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows)
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_arrow(path: Path, rows: list[Row]) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    return path


def write_pretty(path: Path, rows: list[Row]) -> Path:
    path.write_text(json.dumps(rows, indent=2))
    return path


def write_gz(path: Path, rows: list[Row]) -> Path:
    path.write_bytes(gzip.compress(write_json_lines(path, rows).read_bytes()))
    return path


def write_zst(path: Path, rows: list[Row]) -> Path:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


KINDS: dict[str, tuple[str, Callable[[Path, list[Row]], Path]]] = {
    "Parquet": ("rows.parquet", write_parquet),
    "Arrow": ("rows.arrow", write_arrow),
    "JSON lines": ("rows.jsonl", write_json_lines),
    "JSON list": ("rows.json", write_pretty),
    "CSV": ("rows.csv", write_csv),
    "gzip": ("rows.jsonl.gz", write_gz),
    "zstd": ("rows.jsonl.zst", write_zst),
}


def read(path: Path, asked: Mapping[str, str] | None = None) -> list[Record]:
    rows = open_rows(path)
    return list(records(rows.items(), columns(rows, asked or {})))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", IN_LAYOUT)
def test_one_content_is_the_same_rows_in_any_layout_and_kind_of_file(tmp_path: Path, layout: str, kind: str) -> None:
    name, write = KINDS[kind]
    found = read(write(tmp_path / name, [IN_LAYOUT[layout](*pair) for pair in PAIRS]))
    assert [(one.asked, one.texts) for one in found] == [(asked, [reply]) for asked, reply in PAIRS]
    expected = read(write_json_lines(tmp_path / "plain.jsonl", [IN_LAYOUT["messages"](*pair) for pair in reversed(PAIRS)]))
    assert digest(found) == digest(expected)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_each_layout_knows_its_own_example_and_tells_what_it_took(tmp_path: Path, layout: Any) -> None:
    rows = open_rows(write_json_lines(tmp_path / "one.jsonl", [dict(layout.example)]))
    (found,) = records(rows.items(), columns(rows))
    assert rows.reading.layout == layout.name
    assert f"layout {layout.name}" in rows.reading.line()
    assert found.replies
    assert not rows.reading.not_looked_at


def test_a_preference_pair_is_a_reply_and_a_rejected_one_with_or_without_its_prompt(tmp_path: Path) -> None:
    whole = {"chosen": chat("2 + 2?", "4"), "rejected": chat("2 + 2?", "5")}
    texts = {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"}
    for row in ({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}, whole, whole | {"prompt": "2 + 2?"}, texts):
        (found,) = read(write_json_lines(tmp_path / "one.jsonl", [row]))
        assert (found.asked, found.texts, found.rejected[-1]["content"]) == ("2 + 2?", ["4"], "5")


def test_a_tool_call_is_what_the_assistant_says_whatever_null_fields_a_file_adds(tmp_path: Path) -> None:
    call = {"function": {"name": "weather", "arguments": '{"town": "Lima"}'}}
    turns = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    found = [
        read(write_json_lines(tmp_path / "a.jsonl", [{"messages": turns}])),
        read(write_parquet(tmp_path / "a.parquet", [{"messages": turns}])),
        read(write_json_lines(tmp_path / "b.jsonl", [{"conversations": [
            {"from": "human", "value": "Rain?"},
            {"from": "function_call", "value": '[{"function": {"name": "weather", "arguments": {"town": "Lima"}}}]'}]}])),
    ]  # fmt: skip
    assert {one[0].texts[0] for one in found} == {'[{"function": {"arguments": {"town": "Lima"}, "name": "weather"}}]'}


def test_choices_stand_below_the_question_unless_it_says_them(tmp_path: Path) -> None:
    rows = [
        {"question": "Largest?", "choices": ["ant", "whale"], "answer": "B"},
        {"question": "ant or whale?", "choices": ["ant", "whale"], "answer": "B"},
    ]
    found = read(write_json_lines(tmp_path / "a.jsonl", rows))
    assert [one.asked for one in found] == ["Largest?\n\nA. ant\nB. whale", "ant or whale?"]
    row = {"question": "Largest?", "A": "ant", "B": "whale", "C": "cat", "D": "dog", "answer": "B"}
    letters = write_csv(tmp_path / "mmlu.csv", [row])
    assert read(letters)[0].options == ["ant", "whale", "cat", "dog"]


def test_gold_answers_may_be_one_or_a_list_or_nested(tmp_path: Path) -> None:
    golds = ["4", 4, ["4", "four"], {"text": ["4", "four"], "answer_start": [0, 1]}, {"value": "4", "aliases": ["four"]}, None]
    for gold, expected in zip(golds, [["4"], ["4"], ["4", "four"], ["4", "four"], ["4", "four"], []], strict=True):
        assert read(write_json_lines(tmp_path / "a.jsonl", [{"question": "2 + 2?", "answer": gold}]))[0].answers == expected


def test_a_column_is_named_as_column_and_role_or_as_role_and_column(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "a.jsonl", [{"ask": "2 + 2?", "said": "4", "note": "a text"}])
    for asked in (["ask=prompt", "said=completion"], ["prompt=ask", "completion=said"]):
        rows = open_rows(path)
        found = columns(rows, asked)
        assert (found["prompt"], found["completion"]) == ("ask", "said")
        assert rows.reading.not_looked_at == ["note"]
    assert columns(open_rows(path), ["gold=said"])["answer"] == "said"
    with pytest.raises(ConfigError, match="neither is a role"):
        columns(open_rows(path), ["ask=promt"])
    with pytest.raises(DataError, match="has no column 'aks'"):
        columns(open_rows(path), ["prompt=aks"])
    with pytest.raises(ConfigError, match="is not NAME=ROLE"):
        columns(open_rows(path), ["ask"])


def test_what_can_be_read_in_two_ways_is_told(tmp_path: Path) -> None:
    rows = open_rows(write_json_lines(tmp_path / "a.jsonl", [{"question": "2 + 2?", "answer": "4"}]))
    columns(rows)
    assert "answer is taken for the reply and for the gold answer" in rows.reading.line()
    both = open_rows(write_json_lines(tmp_path / "b.jsonl", [{"messages": chat("a", "b"), "prompt": "p", "completion": "c"}]))
    columns(both)
    assert "messages is read, not prompt and completion" in both.reading.line()
