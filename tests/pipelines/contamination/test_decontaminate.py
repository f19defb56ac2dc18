"""`ratoon decontaminate`: planted items found in any kind of file, clean rows kept, a frozen index that cannot change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon.errors import DataError, UsageError
from ratoon.pipelines.contamination.decontaminate import decontaminate, load

ITEM = "A farmer has twelve red hens and each hen lays three eggs on every sunny day. How many eggs in a week?"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "bench.jsonl"
    rows = [{"question": ITEM, "answer": "252"}, {"question": "2 + 2 = ?", "answer": "4"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS = [
    {"prompt": [{"role": "user", "content": f"Please: {ITEM}"}], "completion": [{"role": "assistant", "content": "252"}]},
    {"prompt": [{"role": "user", "content": "What is 3 + 5?"}], "completion": [{"role": "assistant", "content": "8"}]},
    {"prompt": [{"role": "user", "content": "2+2=?"}], "completion": [{"role": "assistant", "content": "4"}]},
]


def data(folder: Path, kind: str) -> Path:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text("".join(row["prompt"][0]["content"] + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "txt"])
def test_rows_that_hold_an_item_are_found_in_any_kind_of_file(tmp_path: Path, bench: Path, kind: str) -> None:
    found = decontaminate(str(data(tmp_path, kind)), [str(bench)], out=tmp_path / "clean")
    assert (found.rows, found.contaminated, found.tiers["long"], found.tiers["exact"]) == (3, 2, 1, 1)
    assert found.benchmarks == [{"benchmark": "bench.jsonl", "items": 2, "items hit": 2, "share": 1.0}]
    assert found.matches[0]["words"].startswith("a farmer has twelve red hens")
    if kind == "parquet":
        assert pq.read_table(tmp_path / "clean" / "train-00000.parquet").to_pylist() == [ROWS[1]]
    else:
        lines = (tmp_path / "clean" / "train.jsonl").read_text().splitlines()
        assert len(lines) == 1
        assert "3 + 5" in lines[0]
    assert len(json.loads((tmp_path / "clean" / "removed" / "matches.json").read_text())) == 2


def test_every_clean_folder_loads_as_itself_whatever_was_loaded_before(tmp_path: Path, bench: Path) -> None:
    datasets = pytest.importorskip("datasets")
    both, one = tmp_path / "both" / "clean", tmp_path / "one" / "clean"
    bench.write_text(json.dumps({"question": ITEM, "answer": "252"}) + "\n")
    decontaminate(str(data(tmp_path, "jsonl")), [str(bench)], out=both)
    bench.write_text(bench.read_text() + json.dumps({"question": "2 + 2 = ?", "answer": "4"}) + "\n")
    decontaminate(str(data(tmp_path, "jsonl")), [str(bench)], out=one)
    for folder, rows in ((both, ROWS[1:]), (one, ROWS[1:2]), (both, ROWS[1:])):
        assert datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache")).to_list() == rows


def test_what_a_killed_process_or_a_stranger_left_beside_it_is_not_in_the_clean_folder(tmp_path: Path, bench: Path) -> None:
    rows, elsewhere = str(data(tmp_path, "jsonl")), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".one.part").mkdir()
    (tmp_path / ".one.part" / "review.json").write_text("[]")
    (tmp_path / ".two.part").symlink_to(elsewhere)
    for name in ("one", "two"):
        decontaminate(rows, [str(bench)], out=tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["README.md", "removed", "train.jsonl"]
        assert not (tmp_path / name).is_symlink()
    assert list(elsewhere.iterdir()) == []


def test_a_frozen_index_gives_the_same_matches_and_a_changed_one_is_refused(tmp_path: Path, bench: Path) -> None:
    rows = str(data(tmp_path, "jsonl"))
    frozen = tmp_path / "frozen.parquet"
    first = decontaminate(rows, [str(bench)], freeze=frozen)
    bench.unlink()
    again = decontaminate(rows, [], index=frozen)
    assert (again.matches, again.benchmarks, again.digest) == (first.matches, first.benchmarks, first.digest)
    assert load(frozen).digest == first.digest
    with pytest.raises(UsageError, match="never changes"):
        decontaminate(rows, [rows], freeze=frozen)
    table = pq.read_table(frozen)
    pq.write_table(table.slice(1), frozen)
    with pytest.raises(DataError, match="not what was frozen"):
        load(frozen)


def test_invalid_utf8_and_rows_without_text_are_no_trouble(tmp_path: Path, bench: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b'{"n": 3}\n\xff\xfe broken\n{"text": "\\ud800 alone"}\n' + json.dumps({"text": ITEM}).encode() + b"\n")
    found = decontaminate(str(path), [str(bench)])
    assert (found.rows, found.contaminated) == (3, 1)
    assert found.unreadable == ["odd.jsonl:2: not valid UTF-8"]
    text = tmp_path / "odd.txt"
    text.write_bytes(b"\xff\xfe\n" + ITEM.encode())
    assert decontaminate(str(text), [str(bench)]).contaminated == 1


def test_what_cannot_be_compared_says_why(tmp_path: Path, bench: Path) -> None:
    rows = str(data(tmp_path, "jsonl"))
    with pytest.raises(UsageError, match="nothing to compare"):
        decontaminate(rows, [])
    with pytest.raises(DataError, match="there is no"):
        decontaminate(rows, [str(tmp_path / "gone.jsonl")])
    with pytest.raises(UsageError, match="exists"):
        decontaminate(rows, [str(bench)], out=tmp_path)
    odd = tmp_path / "columns.jsonl"
    odd.write_text('{"colour": "red"}\n')
    with pytest.raises(DataError, match="holds no question"):
        decontaminate(rows, [str(odd)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data file"):
        decontaminate(str(tmp_path / "empty"), [str(bench)])


def test_the_command_prints_and_says_json(tmp_path: Path, bench: Path, cli_here: Callable[..., Any]) -> None:
    rows = data(tmp_path, "jsonl")
    told = cli_here("decontaminate", rows, "--against", bench)
    assert "2 of 3 rows hold an item" in told.out
    counts = json.loads(cli_here("decontaminate", rows, "--against", bench, "--json").out)
    assert counts["tiers"]["exact"] == 1


def test_rows_near_a_question_are_listed_with_both_texts_and_kept(tmp_path: Path) -> None:
    asked = "A baker sells 12 loaves every hour. How many loaves does the baker sell in 5 hours?"
    changed = "A baker sells 17 loaves each hour. How many loaves will the baker sell in 9 hours?"
    (tmp_path / "bench.jsonl").write_text(json.dumps({"question": asked}) + "\n")
    rows = [{"prompt": changed}, {"prompt": "Name the capital of Peru."}, {"prompt": asked}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "clean"
    found = decontaminate(str(tmp_path / "data.jsonl"), [str(tmp_path / "bench.jsonl")], out=out, review=0.8)
    assert found.contaminated == 1
    assert found.review is not None
    (one,) = found.review
    assert (one["text"], one["question"]) == (changed, asked)
    assert one["cosine"] >= 0.8
    kept = [json.loads(line)["prompt"] for line in (out / "train.jsonl").read_text().splitlines()]
    assert kept == [changed, "Name the capital of Peru."]
    assert json.loads((out / "review.json").read_text()) == found.review
