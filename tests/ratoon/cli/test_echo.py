"""What the command line writes: a terminal gets text only, a file gets the data; and no command writes past the one place."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon.cli import app, echo
from ratoon.errors import UsageError
from ratoon.render_table import render

CLI = Path(app.__file__).parent
NEVER_PRINTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
ATTACKS = [
    "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b]52;c;AA==\x07", "\x9b2J", "\x9d0;x\x9c", "\x7f", "\r", "\b",
    "\u202e", "\u2066", "\u2028", "\ufeff", "\U000e0041", "\ud800",
]  # fmt: skip


class Out(io.TextIOWrapper):
    """Standard output as a terminal or as a file."""

    def __init__(self, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def written(monkeypatch: pytest.MonkeyPatch, terminal: bool, write: Any) -> str:
    out = Out(terminal)
    monkeypatch.setattr(sys, "stdout", out)
    write()
    return out.text()


@pytest.mark.parametrize("attack", ATTACKS)
def test_json_on_a_terminal_is_the_same_value_and_moves_nothing(monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    value = {f"k{attack}": [f"a{attack}b"]}
    text = written(monkeypatch, True, lambda: echo.json(value))
    assert not NEVER_PRINTED.search(text)
    mended = json.loads(json.dumps(value).replace("\\ud800", "\ufffd"))
    assert json.loads(text) == mended
    assert json.loads(written(monkeypatch, False, lambda: echo.json(value))) == mended


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_error_and_a_line_are_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], attack: str) -> None:
    echo.error(UsageError(f"column a{attack}b", f"give {attack}"))
    echo.line(f"a{attack}b")
    told = capsys.readouterr()
    assert not NEVER_PRINTED.search(told.out + told.err)
    assert "column a" in told.err


def table(*cells: str) -> pa.Table:
    return pa.table({"text": list(cells)})


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_query_on_a_terminal_is_text_and_in_a_file_the_data(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    made = render(table(*(f"a{attack}b" for attack in ATTACKS[:-1])), form, width=200)
    assert not NEVER_PRINTED.search(written(monkeypatch, True, lambda: echo.data(made, form)))
    assert written(monkeypatch, False, lambda: echo.data(made, form)) == made


def test_parquet_is_refused_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Out(True))
    with pytest.raises(UsageError, match="is no text"):
        echo.data(render(table("a"), "parquet"), "parquet")


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", '=HYPERLINK("x","y")']
)
def test_a_cell_that_a_spreadsheet_runs_is_a_text_in_safe_csv_and_as_it_is_in_csv(cell: str) -> None:
    safe, plain = (str(render(table(cell), form)).split("\n", 1)[1].lstrip('"') for form in ("csv-safe", "csv"))
    assert safe.startswith("'")
    assert not plain.startswith("'")


def test_safe_csv_leaves_numbers_and_harmless_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"n": [-1, 2], "x": [-0.5, None], "text": ["a=b", "3"], "list": [[-1], []]})
    assert render(rows, "csv-safe") == render(rows, "csv")
    assert str(render(pa.table({"=x": [1]}), "csv-safe")).startswith("'=x\n")


def test_only_one_file_of_the_command_line_writes() -> None:
    """`typer.echo`, `print` and the streams are called in echo.py alone; rich prints tables of cleaned cells."""
    for path in sorted(CLI.glob("*.py")):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        loud = [call for call in calls if call in ("print", "typer.echo", "typer.secho") or call.startswith("sys.std")]
        assert path.name == "echo.py" or not loud, f"{path.name}: {loud}"
