"""Labelled replies: a file is read or refused with its line, counted by right verdict, and ends with code 3 beyond --allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratoon.cli.app import app
from ratoon.errors import DataError, Stopped
from ratoon.metrics.verifier_errors import labelled
from ratoon.metrics.verifiers.pool import VerifierPool

ROWS = [
    {"reply": r"\boxed{7}", "answer": "7", "right": "pass", "id": "more fields are fine"},
    {"reply": "It is 8.", "answer": "7", "verifier": "numeric", "right": False},
    {"reply": "It is 8.", "answer": "8", "verifier": "numeric", "args": {"extract": "boxed"}, "right": True},
    {"by_hand": True, "answer": "stated in words"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "replies.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    return path


def test_each_row_is_judged_and_counted_by_its_right_verdict(file: Path) -> None:
    rows, without = labelled.read(file)
    with VerifierPool(1) as pool:
        checked = labelled.check(rows, pool)
    assert without == 1
    assert [one.agrees for one in checked] == [True, True, False]
    assert checked[2].place == "replies.jsonl:3"
    assert [tuple(row.values()) for row in labelled.confusion(checked)] == [
        ("math", "pass", 1, 0, 0, 0),
        ("numeric", "pass", 0, 1, 0, 0),
        ("numeric", "fail", 0, 1, 0, 0),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "is no JSON"), ("[]", "is no object"), ('{"reply": "x"}', "right"), ('{"reply": "x", "right": "maybe"}', "right")],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line)
    with pytest.raises(DataError, match=f":2.*{said}"):
        labelled.read(path)


def test_the_command_ends_with_a_stop_beyond_what_is_allowed(file: Path) -> None:
    run = CliRunner().invoke(app, ["verifiers", "--check", str(file), "--json"])
    assert isinstance(run.exception, Stopped)
    assert "1 of 3 verdicts" in run.exception.message
    assert json.loads(run.stdout)["disagreements"][0]["place"] == "replies.jsonl:3"
    shown = CliRunner().invoke(app, ["verifiers", "--check", str(file), "--allow", "1"])
    assert (shown.exit_code, "It is 8." in shown.stdout) == (0, True)
