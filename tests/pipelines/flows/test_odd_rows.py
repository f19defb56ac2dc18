"""Any JSON-legal value or key in any field of an imported row, a task file or a verdict: told, counted, no traceback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ratoon import Run, schema
from ratoon.errors import DataError
from ratoon.generators import imported
from ratoon.generators.tasks import dataset
from ratoon.metrics.verifiers.verdict import Verdict, as_verdict, encodable
from ratoon.pipelines.flows.import_rollouts import bring

GOOD = {"prompt": "1 + 1 = ?", "completion": "2", "answer": "2"}
FIELDS = sorted(imported.COLUMNS)
ODD_NUMBERS = [0, -1, 0.5, -0.0, 1e30, -1e30, 5e-324, 10**400, 2**31, 2**63, -(2**63) - 1, *map(float, ("inf", "-inf", "nan"))]
ODD_TEXTS = ["", " ", "\ud800", "\x00", "\x1b[2J", "\u202e", "\u2028", "\U0010ffff", "1e999", "1e30", "-1", "nan", "../x", "{",
             "[1]", '{"role":1}', "a" * 10_000]  # fmt: skip
NESTED: list[Any] = [1]
for _ in range(900):
    NESTED = [NESTED]
ODD = [
    None, True, *ODD_NUMBERS, *ODD_TEXTS, [], [[]], {}, [None], [1], [1.5], [1e30], [-1], [2**40], [True], ["x"], ["\ud800"],
    [float("nan")], [float("inf")], [10**400], {"role": "user"}, {"\ud800": 1}, {"": ""}, {"a": {"b": [float("nan")]}},
    [{"role": "user", "content": "x"}], [{"role": "user", "content": None}], [{"role": "\ud800", "content": "x"}],
    [{"role": "assistant", "content": "\ud800"}], [{"role": "user", "content": "x", "tool_calls": [{"\ud800": 1}]}], NESTED,
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(st.characters(codec=None), max_size=8))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(ODD_NUMBERS), TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
ROWS = st.tuples(st.dictionaries(st.sampled_from(FIELDS) | TEXTS, VALUES, max_size=3), st.just(GOOD)).map(lambda d: d[1] | d[0])
ROWS_A_FILE = 100
_serial = count()


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def conserved(rows: Sequence[Any], folder: Path) -> dict[str, Any]:
    """An import of the rows, behind a good one; every one of them is a rollout, a failure with its reason, or there already."""
    folder = folder / str(next(_serial))
    folder.mkdir()
    told = bring(lines(folder / "theirs.jsonl", [GOOD, *rows]), folder / "run")
    assert told["rows"] == 1 + len(rows) == told["rollouts"] + told["failed"] + told["already there"]
    run = Run(folder / "run")
    failures = run.store.read("failures").to_pylist()
    assert len(failures) == told["failed"]
    assert all(row["message"] and len(row["message"]) <= 500 for row in failures)
    assert run.store.read("rollouts").num_rows == told["rollouts"]
    return told


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1e30", "-2", '"much"', "[]"])
@pytest.mark.parametrize("field", imported.SAMPLING)
def test_a_number_no_sampling_can_hold_is_a_bad_row_and_the_others_are_read(tmp_path: Path, field: str, number: str) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(f'{{"prompt":"x","completion":"y","{field}":{number}}}\n{{"prompt":"x","completion":"y","{field}":1}}\n')
    rows, bad, _ = imported.read(path, imported.column_map(path))
    assert [row.where.rpartition(":")[2] for row in rows] == ["2"]
    assert [field in why for _, why in bad] == [True]


def test_an_odd_value_in_any_field_of_an_import_ends_nothing_and_loses_no_row(tmp_path: Path) -> None:
    conserved([GOOD | {field: value} for field in [*FIELDS, "other"] for value in ODD], tmp_path)


@pytest.mark.soak
def test_odd_rows_of_any_shape_are_imported_or_told(tmp_path: Path, full_size: bool) -> None:
    @settings(max_examples=100 if full_size else 2, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.lists(ROWS, min_size=ROWS_A_FILE, max_size=ROWS_A_FILE))
    def run(rows: list[Any]) -> None:
        conserved(rows, tmp_path)

    run()


def proposed(rows: Sequence[Any], folder: Path) -> None:
    """The tasks of a file; every row is a task, a failure with its reason, or a repeat."""
    path = lines(folder / "tasks.jsonl", [TASK, *rows])
    columns = dataset.ColumnMap(messages="messages", split="split", level="level", verifier_args="verifier_args")
    try:
        made = dataset.propose(dataset.DatasetConfig(path=str(path), columns=columns), seed=0)
    except DataError:  # at least half of a small file can be what no reader takes, and that is told
        return
    assert made.planned == 1 + len(rows)
    assert all(row["message"] for row in made.failures.to_pylist())


TASK = {"messages": [{"role": "user", "content": "1 + 1 = ?"}], "answer": "2", "split": "train", "level": "1",
        "verifier_args": {}, "tools": None}  # fmt: skip


def test_an_odd_value_in_any_field_of_a_task_file_ends_nothing_and_loses_no_row(tmp_path: Path) -> None:
    proposed([TASK | {field: value} for field in [*TASK, "other"] for value in ODD], tmp_path)


@pytest.mark.soak
def test_odd_rows_of_any_shape_are_tasks_or_told(tmp_path: Path, full_size: bool) -> None:
    fields = st.sampled_from(sorted(TASK)) | TEXTS

    @settings(max_examples=10_000 if full_size else 100, database=None)
    @given(st.lists(st.dictionaries(fields, VALUES, max_size=3).map(lambda row: TASK | row), min_size=1, max_size=3))
    def run(rows: list[Any]) -> None:
        proposed(rows, tmp_path)

    run()


@given(st.lists(st.tuples(st.sampled_from(["pass", "fail", "abstain", "error"]), st.none() | st.floats(), TEXTS, TEXTS)))
def test_any_answer_and_detail_of_a_verdict_is_a_row_of_scores(verdicts: list[tuple[str, float | None, str, str]]) -> None:
    kept = [encodable(Verdict(*verdict)) for verdict in verdicts]
    columns = dict(zip(("status", "value", "answer", "detail"), zip(*kept, strict=True), strict=False))
    keys = {"subject_kind": "rollout", "scorer": "theirs", "version": "1", "repeat": 0}
    ids = [str(i) for i in range(len(kept))]
    told = {"subject_id": ids} | {name: [value] * len(kept) for name, value in keys.items()}
    made = schema.from_columns("scores", told | {name: list(column) for name, column in columns.items()}, len(kept))
    assert Counter(made["status"].to_pylist()) == Counter(verdict[0] for verdict in verdicts)


@given(VALUES)
def test_whatever_a_verifier_returns_is_a_verdict_or_an_error_of_its_own(returned: Any) -> None:
    try:
        verdict = as_verdict(returned)
    except (OverflowError, ValueError):  # the worker tells what a verifier raises as an `error`
        return
    assert verdict.status in ("pass", "fail", "abstain", "error")
