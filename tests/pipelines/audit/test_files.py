"""What an audit says of users' files: what was read, and nothing that is not so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon.errors import DataError
from ratoon.metrics.page import render
from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.recipe.sections import AuditConfig

CHEAP = AuditConfig(tier="cheap")
THINGS = ("bicycle", "fern", "kettle", "violin", "rug", "lamp", "saw", "boat", "drum", "clock", "chair", "stove")
Row = dict[str, Any]


def lines(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def report(path: Path) -> dict[str, Any]:
    return dict(auditing.audit(path, config=CHEAP).report)


def codes(found: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in found["warnings"]]


def notes() -> list[Row]:
    return [
        {"prompt": f"How does one look after a {thing}?", "completion": f"Wipe the {thing} and keep it dry."}
        for thing in THINGS
    ]


@pytest.mark.parametrize("second", ["input", "context", "choices"])
def test_rows_that_differ_only_in_their_second_column_are_no_copies(tmp_path: Path, second: str) -> None:
    rows = [
        {
            "instruction": "Sort the words.",
            second: [f"w{i}", f"v{i}"] if second == "choices" else f"w{i} v{i}",
            "output": "Done.",
        }
        for i in range(60)
    ]
    found = report(lines(tmp_path / "a.jsonl", rows))
    assert found["numbers"]["diversity.exact_duplicates"]["value"] == 0
    assert found["subject"]["tasks"] == 60


def test_copies_may_differ_in_a_text_column_that_was_not_looked_at_and_the_warning_says_so(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Sum it up.", "completion": "A fine day it was for all of us.", "passage": f"Day {i} was fine."}
        for i in range(20)
    ]
    (warning,) = [w for w in report(lines(tmp_path / "a.jsonl", rows))["warnings"] if w["code"] == "duplicates"]
    assert "passage was not compared" in warning["message"]


def test_replies_that_are_tool_calls_are_not_empty(tmp_path: Path) -> None:
    call = {"function": {"name": "weather", "arguments": "{}"}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Weather in {t}?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ]
        }
        for t in THINGS
    ]
    found = report(lines(tmp_path / "a.jsonl", rows))
    assert found["numbers"]["quality.empty"]["value"] == 0


def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    column = pa.array(["a"])
    pq.write_table(pa.table([column, column, column], names=["prompt", "completion", "completion"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="completion"):
        report(tmp_path / "a.parquet")


def test_intervals_stay_where_the_numbers_can_be(tmp_path: Path) -> None:
    rows = [*notes()[:3], {"prompt": "Tell all.", "completion": "word " * 400}]
    found = report(lines(tmp_path / "a.jsonl", rows))["numbers"]
    counts = {
        name: one for name, one in found.items() if name.startswith(("complexity.", "diversity.")) and one["lo"] is not None
    }
    assert found["complexity.words"]["lo"] > 0
    assert all(one["lo"] >= 0 for one in counts.values())


def test_nothing_is_said_of_replies_where_there_is_none(tmp_path: Path) -> None:
    rows = [{"prompt": f"How does one look after a {thing}?"} for thing in THINGS]
    found = report(lines(tmp_path / "a.jsonl", rows))
    assert not {"quality.truncated", "quality.empty", "quality.refusal"} & found["numbers"].keys()
    assert any("no row has a reply" in gap["why"] for gap in found["not_computed"])


def test_unreadable_rows_warn_from_one_in_a_hundred_and_stop_from_half(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", notes() * 10)
    with path.open("a") as opened:
        opened.write("broken\n")
    assert "unreadable" not in codes(report(path))
    with path.open("a") as opened:
        opened.write("broken\n")
    (warning,) = [w for w in report(path)["warnings"] if w["code"] == "unreadable"]
    assert "a.jsonl:121" in warning["message"]
    path.write_text('{"prompt": "a", "completion": "b"}\nbroken\n')
    with pytest.raises(DataError, match="1 of 2 rows could not be read"):
        report(path)


def test_the_page_of_a_file_tells_how_it_was_read_and_has_no_section_of_a_run(tmp_path: Path) -> None:
    found = auditing.audit(lines(tmp_path / "a.jsonl", notes()), config=CHEAP).report
    page = render(found)
    assert page.index("12 rows of a.jsonl; layout prompt and completion") < page.index('id="verdict"')
    assert 'id="funnel"' not in page
    assert 'id="iterations"' not in page


def test_a_folder_says_what_it_left_out(tmp_path: Path) -> None:
    lines(tmp_path / "d" / "train.jsonl", notes())
    lines(tmp_path / "d" / "synthetic.jsonl", notes()[:6])
    (tmp_path / "d" / "more.xlsx").write_bytes(b"PK")
    found = report(tmp_path / "d")
    assert found["subject"]["rows"] == 18
    assert "more.xlsx (.xlsx is not read)" in found["subject"]["reading"]


@pytest.mark.parametrize(("name", "value"), [("round", 20261201020000), ("n_tokens", 10**19), ("created", 1_764_590_400_000)])
def test_numbers_of_any_size_are_no_traceback(tmp_path: Path, name: str, value: int) -> None:
    found = report(lines(tmp_path / "a.jsonl", [row | {name: value} for row in notes()]))
    assert found["subject"]["rows"] == 12
