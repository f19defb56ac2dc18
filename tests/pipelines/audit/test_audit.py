"""The audit of files, folders, datasets and runs: what it warns of, what it could not compute, and that it is stable."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ratoon.cli.rows_file import RowsFile
from ratoon.errors import DataError, UsageError
from ratoon.metrics.report import FORMAT
from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.recipe.sections import AuditConfig

CHEAP = AuditConfig(tier="cheap")
GOLDEN = Path(__file__).parents[1] / "golden" / "audit.json"
WORDS = ("amber", "river", "stone", "window", "candle", "forest", "market", "engine", "garden", "letter", "shadow", "bridge",
         "silver", "valley", "copper", "meadow")  # fmt: skip
Report = dict[str, Any]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sound(n: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """`n` judged replies, four a task, with nothing wrong in them."""
    draw, rows = random.Random(seed), []
    for i in range(n):
        task, right = i // 4, draw.random() < 0.6
        said = " ".join(draw.choice(WORDS) for _ in range(draw.randint(12, 40)))
        number = 10 + task if right else 500 + i
        prompt = f"What is {task} plus ten in the {WORDS[task % 16]}?"
        rows.append({"prompt": prompt, "completion": f"The {said} is so: {number}.", "gold": str(10 + task), "passed": right})
    return rows


def report(path: Path, against: Path | None = None, **config: Any) -> Report:
    return dict(auditing.audit(path, against, config=CHEAP.model_copy(update=config)).report)


def codes(found: Report) -> list[str]:
    return [warning["code"] for warning in found["warnings"]]


def test_sound_rows_raise_no_warning_alone_or_against_each_other(tmp_path: Path) -> None:
    a, b = lines(tmp_path / "a.jsonl", sound(80)), lines(tmp_path / "b.jsonl", sound(80, 1))
    assert codes(report(a)) == []
    assert codes(report(a, b)) == []


def test_each_warning_names_its_rows_by_the_sql_it_shows(tmp_path: Path) -> None:
    rows = sound(80)
    for row in rows[:40]:
        row["completion"] = f"As an assistant I am happy to say: {row['completion']}"
    found = auditing.audit(lines(tmp_path / "a.jsonl", rows), config=CHEAP)
    auditing.write(found, tmp_path / "out" / "report.html")
    stored = RowsFile(tmp_path / "out" / "metrics.parquet")
    assert codes(dict(found.report)) == ["one_template"]
    (warning,) = found.report["warnings"]
    told = json.loads(stored.render(warning["sql"], "json"))
    assert [row["row_id"] for row in told] == warning["row_ids"]
    assert len(told) == 40
    assert all("as an assistant" in row["completion"].lower() for row in told)
    known = {row["row_id"] for row in found.report["rows"]}
    assert set(warning["row_ids"]) <= known


def test_the_sql_beside_a_number_gives_the_number(tmp_path: Path) -> None:
    found = auditing.audit(lines(tmp_path / "a.jsonl", sound()), config=CHEAP)
    auditing.write(found, tmp_path / "report.html")
    stored = RowsFile(tmp_path / "metrics.parquet")
    checked = 0
    for name, number in found.report["numbers"].items():
        if number["sql"] is not None:
            (row,) = json.loads(stored.render(number["sql"], "json"))
            assert list(row.values()) == pytest.approx([number["value"], number["n"]]), name
            checked += 1
    assert checked > 20


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows = sound()
    one = report(lines(tmp_path / "a.jsonl", rows))
    two = report(lines(tmp_path / "a.jsonl", random.Random(1).sample(rows, len(rows))))
    one["subject"]["digest"] = two["subject"]["digest"] = ""
    for found in (one, two):
        found["sections"]["provenance"] = []
    assert one == two


def test_the_report_is_what_it_was(tmp_path: Path) -> None:
    """Changed on purpose? Write the golden file anew: RATOON_GOLDEN=1, and raise FORMAT where a reader would stumble."""
    import os

    found = report(lines(tmp_path / "a.jsonl", sound(40)), lines(tmp_path / "b.jsonl", sound(40, 1)))
    found["sections"]["provenance"], found["ratoon"] = [], ""
    for side in ("subject", "against"):
        found[side]["name"] = Path(found[side]["name"]).name
    found["title"] = ""
    if os.environ.get("RATOON_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert FORMAT == "ratoon-audit/1"
    alike(found, json.loads(GOLDEN.read_text(encoding="utf-8")), "")


def alike(found: Any, wanted: Any, where: str) -> None:
    """Equal, but for the last digits of floats, and a twentieth of what a compression library decides."""
    assert type(found) is type(wanted) or {type(found), type(wanted)} <= {int, float}, where
    if isinstance(found, dict):
        assert list(found) == list(wanted), where
        for name in found:
            alike(found[name], wanted[name], f"{where}/{name}")
    elif isinstance(found, list):
        assert len(found) == len(wanted), where
        for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
            alike(a, b, f"{where}/{i}")
    elif isinstance(found, float):
        assert found == pytest.approx(wanted, rel=0.05 if "compression" in where else 1e-6, abs=1e-9), where
    elif "compression" not in where and "words" not in where:
        assert found == wanted, where


# ------------------------------------------------------------------------------------------------ bad input


def _parquet(table: pa.Table) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(table, folder / "a.parquet")
        return folder / "a.parquet"

    return write


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


BAD = {
    "empty": (_text("a.jsonl", ""), 0, "everything"),
    "a header": (_text("a.csv", "prompt,completion\n"), 0, "everything"),
    "no rows": (_parquet(pa.table({"prompt": pa.array([], pa.string())})), 0, "everything"),
    "no columns": (_parquet(pa.table({})), 0, "everything"),
    "unknown columns": (_text("a.jsonl", '{"foo": 1}\n{"foo": [2]}\n'), 2, "texts"),
    "one row": (_text("a.jsonl", '{"prompt": "Why?", "completion": "Because."}\n'), 1, "drift"),
    "nulls": (_text("a.jsonl", '{"prompt": null, "completion": null}\n{"prompt": "a"}\n'), 2, "pass rates"),
    "broken lines": (_text("a.jsonl", '{"prompt": "a", "completion": "b"}\n' * 3 + "no\n[1]\n"), 3, "contamination"),
    "no scores": (_text("a.jsonl", '{"text": "some words"}\n' * 3), 3, "pass rates"),
    "one class": (_text("a.jsonl", '{"prompt": "a", "completion": "b", "passed": true}\n' * 2), 2, "sets right rows apart"),
    "odd types": (_text("a.json", '[{"prompt": 3, "completion": {"a": 1}, "passed": "maybe", "score": "x"}]'), 1, "pass rates"),
    "a lone surrogate": (_text("a.jsonl", '{"prompt": "\\ud800", "completion": "\\udfff b"}\n'), 1, "texts, or not"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_report_that_says_what_it_could_not_compute(name: str, tmp_path: Path) -> None:
    write, rows, what = BAD[name]
    path = write(tmp_path)
    other = lines(tmp_path / "other.jsonl", sound(40))
    for found in (report(path), report(path, other)):
        assert found["subject"]["rows"] == rows
        told = [gap["what"] for gap in found["not_computed"]]
        assert name == "a lone surrogate" or any(what in gap for gap in told) or (what == "drift" and found["against"])
        assert all(gap["why"] and gap["mend"] for gap in found["not_computed"])
        json.dumps(found, allow_nan=False)
    report(other, path)


def test_what_cannot_be_read_at_all_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="no readable Parquet"):
        report(tmp_path / "a.parquet")
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\nno\n')
    with pytest.raises(DataError, match="1 of 2 rows could not be read"):
        report(tmp_path / "broken.jsonl")
    with pytest.raises(UsageError, match="there is no"):
        report(tmp_path / "nothing.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data file"):
        report(tmp_path / "empty")
    with pytest.raises(DataError, match="no column 'reply'"):
        auditing.audit(lines(tmp_path / "b.jsonl", sound(4)), config=CHEAP, columns={"completion": "reply"})


def test_hostile_texts_are_data(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>\x1b[31m\u202e'; drop table rows; --"
    rows = [{"id": bad, "prompt": bad, "completion": bad, "family": bad, "passed": i % 2 == 0} for i in range(12)]
    rows += [{"id": str(i), "prompt": "p", "completion": f"c {i}", "family": "x", "passed": True} for i in range(12)]
    found = report(lines(tmp_path / "a.jsonl", rows))
    assert any(row["completion"] == bad for row in found["rows"])


# ------------------------------------------------------------------------------------------------ kinds of subjects


def test_lists_of_messages_are_split_into_what_was_asked_and_the_last_reply(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "go"},
             {"role": "assistant", "content": "done"}]  # fmt: skip
    found = report(lines(tmp_path / "a.jsonl", [{"messages": turns}]))
    (row,) = found["rows"]
    assert row["completion"] == "done"
    assert row["prompt"] == "hi\nyes?\ngo"
    assert found["subject"]["columns"] == {"messages": "messages"}


def test_asked_columns_win_over_guesses_and_the_guess_is_cli_here(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"question": "q", "answer": "a", "reply": "r"}])
    found = auditing.audit(path, config=CHEAP, columns={"completion": "reply"}).report
    assert found["subject"]["columns"] == {"prompt": "question", "completion": "reply", "answer": "answer"}
    assert "prompt = question" in found["subject"]["reading"]


def test_a_folder_with_splits_audits_train_and_holds_the_test_questions_out(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nconfigs: []\n---\n")
    leaked = "How many silver lanterns does the old keeper of the bridge count before the market opens at dawn?"
    train = [*sound(40), {"prompt": leaked, "completion": "Nine of them are there, as far as anyone knows: 9.", "passed": True}]
    pq.write_table(pa.Table.from_pylist(train), folder / "data" / "train-00000-of-00001.parquet")
    test = pa.Table.from_pylist([{"prompt": leaked, "completion": "9"}])
    pq.write_table(test, folder / "data" / "test-00000-of-00001.parquet")
    found = report(folder)
    assert found["subject"]["kind"] == "folder"
    assert found["subject"]["rows"] == 41
    assert codes(found) == ["contaminated"]
    assert len(found["warnings"][0]["row_ids"]) == 1


def test_a_named_evaluation_set_is_looked_for(tmp_path: Path) -> None:
    item = "A grey heron stands in the shallow water beside the third wooden post and waits for small fish"
    held = lines(tmp_path / "bench.jsonl", [{"question": item}])
    rows = sound(40)
    rows[7]["completion"] = f"I remember this one: {item}. {rows[7]['completion']}"
    path = lines(tmp_path / "a.jsonl", rows)
    assert codes(report(path, benchmarks=(str(held),))) == ["contaminated"]
    assert codes(report(path)) == []


def test_what_is_too_large_is_sampled_by_whole_tasks_and_says_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", sound(400))
    found = auditing.audit(path, config=CHEAP.model_copy(update={"rows": 100}))
    assert found.report["subject"]["rows"] == 400
    assert 40 < found.rows.num_rows <= 100
    sizes = found.rows.group_by("task_id").aggregate([("row_id", "count")])["row_id_count"].to_pylist()
    assert sum(size == 4 for size in sizes) >= len(sizes) - 1
    assert any("whole tasks chosen by hash" in fact["value"] for fact in found.report["sections"]["provenance"])


@pytest.mark.parametrize("suffix", ["csv", "arrow", "json", "jsonl"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    table = pa.Table.from_pylist(sound(40))
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        pa.csv.write_csv(table, path)
    elif suffix == "arrow":
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table)
    elif suffix == "json":
        path.write_text(json.dumps(table.to_pylist()), encoding="utf-8")
    else:
        lines(path, table.to_pylist())
    pq.write_table(table, tmp_path / "b.parquet")
    one, two = report(path), report(tmp_path / "b.parquet")
    assert one["numbers"] == two["numbers"]
    assert one["rows"] == two["rows"]


def test_a_run_that_is_too_large_is_sampled_by_whole_tasks(smoke_run: Path) -> None:
    found = report(smoke_run, rows=20)
    assert found["subject"]["rows"] > 20
    assert any(fact["value"].endswith(f"of {found['subject']['rows']}") for fact in found["sections"]["provenance"])


def test_a_run_is_audited_with_its_funnel_and_its_own_held_out_tasks(smoke_run: Path) -> None:
    found = report(smoke_run)
    funnel = found["sections"]["funnel"]
    assert found["subject"]["kind"] == "run"
    assert funnel[0]["stage"] == "generated"
    for before, after in pairwise(funnel[2:]):
        assert before["rows"] - after["rows"] == sum(d["rows"] for d in after["dropped"])
    assert "contamination.rows" in found["numbers"]
    assert {row["decision"] for row in found["rows"]} >= {"kept", "dropped"}
    assert found["sections"]["iterations"]


def test_a_run_tells_its_own_rounds_numbers_whichever_side_it_is(smoke_run: Path, tmp_path: Path) -> None:
    as_subject = report(smoke_run)["numbers"]
    as_other = report(lines(tmp_path / "a.jsonl", sound()), smoke_run)["numbers"]
    name = "quality.pass_rate_corrected"
    assert as_other[f"against.{name}"]["value"] == as_subject[name]["value"]
    assert name not in as_other, "a file has no run whose numbers were its own"


def test_a_dataset_of_a_run_is_audited_by_itself(smoke_run: Path) -> None:
    folder = next((smoke_run / "datasets" / "default").iterdir())
    found = report(folder)
    assert found["subject"]["kind"] == "dataset"
    assert found["subject"]["rows"] > 0
    assert all(row["prompt"] and row["completion"] is not None for row in found["rows"])


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_writes_three_files_into_a_new_folder_and_warnings_are_no_failure(cli_here: Any, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [*sound(20)] * 2)
    code, out, _ = cli_here("audit", path, "--out", tmp_path / "new" / "deep" / "page.html", "--set", "tier=cheap")
    assert code == 0
    assert "duplicates" in out
    assert sorted(p.name for p in (tmp_path / "new" / "deep").iterdir()) == ["metrics.parquet", "page.html", "report.json"]
    read = json.loads((tmp_path / "new" / "deep" / "report.json").read_text(encoding="utf-8"))
    assert read["format"] == FORMAT


def test_a_wrong_column_is_told_without_a_traceback(cli_here: Any, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", sound(4))
    code, _, err = cli_here("audit", path, "--completion", "complection", "--out", tmp_path / "r.html", "--set", "tier=cheap")
    assert code == 2
    assert "did you mean 'completion'" in err
    assert "Traceback" not in err
    assert cli_here("audit", path, "--column", "wrong=x", "--out", tmp_path / "r.html")[0] == 2
