"""`ratoon decontaminate` finds the same planted items in every layout and kind of file, and says what it did not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon.errors import DataError, UsageError
from ratoon.pipelines.contamination.decontaminate import Report, decontaminate

Row = dict[str, Any]
ITEMS = [(f"Ada keeps {i} apples in a tin box and buys {i + 2} more at the harbour market on Monday. How many has she?",
          f"Ada has {i} and {i + 2} apples in her box, which makes {2 * i + 2}.") for i in range(20)]  # fmt: skip
CLEAN = [(f"Write a short note on how to look after a {thing}.", f"Wipe the {thing} with a dry cloth every week.")
         for thing in ("bicycle", "fern", "kettle", "violin", "rug", "lamp", "saw", "boat", "drum", "clock")]  # fmt: skip
CONTENT = [*CLEAN, *ITEMS[:5]]


def lines(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def bench(tmp_path: Path) -> str:
    return str(lines(tmp_path / "bench.jsonl", [{"question": q, "answer": a} for q, a in ITEMS]))


def turns(q: str, a: str) -> list[Row]:
    return [{"role": "user", "content": q}, {"role": "assistant", "content": a}]


def from_value(q: str, a: str) -> list[Row]:
    return [{"from": "human", "value": q}, {"from": "gpt", "value": a}]


LAYOUTS: dict[str, Callable[[str, str], Row]] = {
    "messages": lambda q, a: {"messages": turns(q, a)},
    "sharegpt": lambda q, a: {"id": "x", "conversations": from_value(q, a)},
    "text list": lambda q, a: {"uuid": "x", "generations": [a, q], "correct": [True, False]},
    "struct of lists": lambda q, a: {"messages": {"role": ["user", "assistant"], "content": [q, a]}},
    "json text": lambda q, a: {"messages": json.dumps(turns(q, a))},
    "parts": lambda q, a: {"messages": [t | {"content": [{"type": "text", "text": t["content"]}]} for t in turns(q, a)]},
    "alpaca": lambda q, a: {"instruction": q[:40], "input": q[40:], "output": a},
    "nested": lambda q, a: {"extra": {"deep": [{"said": q}]}, "n": 1},
    "hard-wrapped": lambda q, a: {"prompt": q.replace(" ", "\n"), "completion": a},
    "preference": lambda q, a: {"prompt": "Pick.", "chosen": "No.", "rejected": turns(q, a)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_five_planted_rows_are_found_in_every_layout(tmp_path: Path, bench: str, layout: str, kind: str) -> None:
    rows = [LAYOUTS[layout](*pair) for pair in CONTENT]
    path = tmp_path / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines(path, rows)
    found = decontaminate(str(path), [bench])
    first = 10 if kind == "parquet" else 11
    assert sorted(int(m["row"].rpartition(":")[2]) for m in found.matches) == list(range(first, first + 5))
    assert found.benchmarks[0]["items hit"] == 5


def test_every_file_of_a_folder_is_read_and_a_kind_nobody_reads_is_not_called_clean(tmp_path: Path, bench: str) -> None:
    import gzip

    folder = tmp_path / "data"
    lines(folder / "part1.jsonl", [LAYOUTS["messages"](*pair) for pair in CLEAN])
    (folder / "part2.json").write_text(json.dumps([LAYOUTS["sharegpt"](*pair) for pair in ITEMS[:5]]))
    (folder / "part3.jsonl.gz").write_bytes(gzip.compress(json.dumps(LAYOUTS["alpaca"](*ITEMS[5])).encode()))
    assert decontaminate(str(folder), [bench]).contaminated == 6
    (folder / "part4.xlsx").write_bytes(b"PK")
    assert "part4.xlsx (.xlsx is not read)" in decontaminate(str(folder), [bench]).reading
    with pytest.raises(UsageError, match=r"part4\.xlsx"):
        decontaminate(str(folder), [bench], out=tmp_path / "clean")


def test_an_item_under_eight_words_is_found_where_it_is_a_whole_turn(tmp_path: Path) -> None:
    capitals = [("What is the capital of France?", "Paris"), ("What is the capital of Peru?", "Lima")]
    bench = str(lines(tmp_path / "short.jsonl", [{"question": q, "answer": a} for q, a in capitals]))
    for number, layout in enumerate((LAYOUTS["messages"], LAYOUTS["sharegpt"], lambda q, a: {"prompt": q, "completion": a})):
        found = decontaminate(str(lines(tmp_path / f"{number}.jsonl", [layout(*pair) for pair in capitals])), [bench])
        assert (found.contaminated, found.too_short) == (2, {"questions": 2, "answers": 2})


def test_the_columns_of_a_benchmark_are_known_in_any_case_and_told(tmp_path: Path) -> None:
    rows = [{"ID": i, "Problem": q, "Answer": a, "text": f"item {i}"} for i, (q, a) in enumerate(ITEMS)]
    bench = str(lines(tmp_path / "capital.jsonl", rows))
    found = decontaminate(str(lines(tmp_path / "a.jsonl", [LAYOUTS["messages"](*pair) for pair in CONTENT])), [bench])
    assert found.contaminated == 5
    assert found.read_benchmarks is not None
    assert "prompt = Problem, answer = Answer" in found.read_benchmarks[0]
    assert "text not looked at: text" in found.read_benchmarks[0]


def test_hard_wrapped_text_files_are_compared_by_paragraph(tmp_path: Path, bench: str) -> None:
    import textwrap

    story = "\n\n".join(textwrap.fill(f"Once upon a time somebody asked this. {q} Nobody knew.", 60) for q, _ in ITEMS[:3])
    (tmp_path / "book.txt").write_text(f"{story}\n")
    found = decontaminate(str(tmp_path / "book.txt"), [bench])
    assert (found.rows, found.contaminated) == (3, 3)


def test_clean_rows_keep_types_in_parquet_and_are_plain_json_elsewhere(tmp_path: Path, bench: str) -> None:
    odd = {"prompt": "A lamp?", "img": b"\x89PNG\xff", "dec": Decimal("1.10"), "at": datetime(2026, 1, 2)}
    odd["reward"] = float("nan")
    pq.write_table(pa.Table.from_pylist([odd]), tmp_path / "odd.parquet")
    decontaminate(str(tmp_path / "odd.parquet"), [bench], out=tmp_path / "typed")
    kept = pq.read_table(tmp_path / "typed" / "train-00000.parquet")
    assert kept.schema == pq.read_table(tmp_path / "odd.parquet").schema
    assert kept.drop(["reward"]).to_pylist() == [{k: v for k, v in odd.items() if k != "reward"}]
    (tmp_path / "odd.jsonl").write_text('{"prompt": "A lamp?", "reward": NaN}\n')
    decontaminate(str(tmp_path / "odd.jsonl"), [bench], out=tmp_path / "lines")
    assert (tmp_path / "lines" / "train.jsonl").read_text() == '{"prompt": "A lamp?", "reward": null}\n'


def test_splits_stay_apart_in_the_clean_folder(tmp_path: Path, bench: str) -> None:
    lines(tmp_path / "data" / "train.jsonl", [LAYOUTS["messages"](*pair) for pair in CONTENT])
    lines(tmp_path / "data" / "test.jsonl", [LAYOUTS["messages"](*pair) for pair in CLEAN[:3]])
    decontaminate(str(tmp_path / "data"), [bench], out=tmp_path / "clean")
    counts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "clean").glob("*.jsonl")}
    assert counts == {"train.jsonl": 10, "test.jsonl": 3}
    assert decontaminate(str(tmp_path / "data"), [bench], split="test").rows == 3


def test_unreadable_rows_stop_it_from_half_on_and_rows_without_text_are_told(tmp_path: Path, bench: str) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a": "b"}\nbroken\n')
    with pytest.raises(DataError, match=r"1 of 2 rows could not be read, the first bad\.jsonl:2"):
        decontaminate(str(tmp_path / "bad.jsonl"), [bench])
    with pytest.raises(DataError, match=r"no row .* holds a text"):
        decontaminate(str(lines(tmp_path / "numbers.jsonl", [{"n": 1}, {"n": 2}])), [bench])
    found: Report = decontaminate(str(lines(tmp_path / "some.jsonl", [{"a": "words", "n": 1}, {"a": None}])), [bench])
    assert (found.without_text, found.not_compared) == (1, ["n"])


def test_phrases_of_a_file_are_boilerplate(tmp_path: Path, cli: Callable[..., Any]) -> None:
    tail = "and now please write down the whole of your answer in one short line of plain English"
    bench = lines(tmp_path / "bench.jsonl", [{"question": f"How tall is the tower? {tail}"}])
    rows = lines(tmp_path / "rows.jsonl", [{"prompt": f"Who built the bridge? {tail}"}])
    assert "1 of 1 rows hold an item" in cli("decontaminate", rows, "--against", bench).stdout
    (tmp_path / "phrases.txt").write_text(f"{tail}\n")
    told = cli("decontaminate", rows, "--against", bench, "--boilerplate", tmp_path / "phrases.txt").stdout
    assert "0 of 1 rows hold an item" in told
    assert "read 1 rows of rows.jsonl; layout" in told


def test_evidence_keeps_combining_marks(tmp_path: Path) -> None:
    text = "หนังสือเล่มนี้อยู่บนโต๊ะในห้องเรียนของฉันที่โรงเรียน"
    bench = str(lines(tmp_path / "bench.jsonl", [{"question": text}]))
    found = decontaminate(str(lines(tmp_path / "rows.jsonl", [{"prompt": text}])), [bench])
    assert found.matches[0]["words"].replace(" ", "") == text
