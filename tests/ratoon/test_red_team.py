"""Attacks through names, cards, archives and the terminal; and each guard taken out, so that its attack then succeeds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon import ids
from ratoon.cli import echo
from ratoon.errors import RatoonError, UsageError
from ratoon.generators.engines import EngineConfig
from ratoon.pipelines.runtime import trust
from ratoon.render_table import render
from ratoon.rows.rows import open_rows
from ratoon.sft.data import dataset
from ratoon.terminal import escaped, plain

NAMES = [
    "../x",
    "..",
    ".",
    "",
    "/etc/x",
    "a/b",
    "a\\b/../c",
    "a\x00b",
    "\x1b[2J",
    "\u202e",
    "-rf/..",
    "~/x",
    "a\nb",
    "con/../..",
    " /x",
]
ESCAPES = [
    "\x1b[2J",
    "\x1b[31m",
    "\x1b]0;t\x07",
    "\x1b]8;;http://x\x07y\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1bP1$r0m\x1b\\",
    "\x1b_x\x1b\\",
    "\x1b^x\x1b\\",
    "\x1bc",
    "\x1b7",
    "\x9b6n",
    "\x9d0;t\x9c",
    "\x90q\x9c",
    "\x08\x08",
    "\r",
    "\x7f",
    "\u200f",
    "\u061c",
    "\u2029",
    "\U000e0001",
]
MOVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_dataset_is_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(RatoonError):
        dataset.folder_at(tmp_path, f"datasets/{name}/1")


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_escape_is_printed(escape: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo.error(UsageError(f"a{escape}b", f"c{escape}d"))
    assert not MOVES.search(capsys.readouterr().err)
    assert not MOVES.search(str(render(pa.table({f"n{escape}": [f"a{escape}b"]}), "table", width=80)))


def test_without_that_guard_an_escape_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "plain", lambda text: text)
    echo.error(UsageError("a\x9b2Jb"))
    assert "\x9b2J" in capsys.readouterr().err


@pytest.mark.parametrize("escape", ESCAPES)
def test_json_with_escapes_is_the_same_value_when_shown(escape: str) -> None:
    value = {escape: [escape]}
    shown = escaped(json.dumps(value, ensure_ascii=False))
    assert not MOVES.search(shown)
    assert json.loads(shown) == value
    assert not MOVES.search(plain(escape))


def test_without_the_guard_of_csv_a_cell_is_a_formula() -> None:
    rows = pa.table({"x": ["=1+1"]})
    assert str(render(rows, "csv-safe")) == "x\n'=1+1\n"
    assert str(render(rows, "csv")) == "x\n=1+1\n"


CARDS = [
    "configs: [",
    "configs: 3",
    "configs:\n- data_files: ../../etc/passwd",
    "configs:\n- data_files: /etc/passwd",
    "configs:\n- config_name: x\n  data_files: '../*'",
    "configs: &a [*a]",
    "a: !!python/object/apply:os.system ['touch owned']",
    "configs:\n- data_files:\n  - split: ../x\n    path: a.jsonl",
    "- " * 5_000,
    "\x00",
    "a: 2024-99-99",
    "a: " + "[" * 500,
]


@pytest.mark.parametrize("front", CARDS, ids=range(len(CARDS)))
def test_no_card_of_a_folder_reads_or_runs_what_lies_outside(
    tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    folder.mkdir()
    (tmp_path / "outside.jsonl").write_text('{"prompt": "secret"}\n')
    (folder / "a.jsonl").write_text('{"prompt": "x", "completion": "y"}\n' * 2)
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    try:
        rows = open_rows(folder)
        read = [item.row for item in rows.items()]
        names = [file.path.resolve() for file in rows.files]
    except RatoonError:
        read, names = [], []
    assert "secret" not in json.dumps(read)
    assert all(name.is_relative_to(folder.resolve()) for name in names)
    assert not (tmp_path / "owned").exists()


ODD_FILES = {
    "x.jsonl.gz": b"\x1f\x8b\x08\x00garbage",
    "x.parquet": b"PAR1" + b"\xff" * 40 + b"PAR1",
    "x.csv": b'a,b\n"' + b"x" * 50,
    "x.json": b"[" * 10_000,
    "y.json": b'{"a":' * 10_000,
    "x.arrow": b"ARROW1\x00\x00" + b"\xff" * 40,
    "x.jsonl": b"\xff\xfe{\x00",
    "z.jsonl": b"\x00" * 1000,
    "y.csv": b"",
    "y.jsonl.zst": b"\x28\xb5\x2f\xfdgarbage",
}


@pytest.mark.parametrize("name", list(ODD_FILES))
def test_a_damaged_file_or_archive_is_told_or_costs_its_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ODD_FILES[name])
    try:
        problems = [item.problem for item in open_rows(path).items()]
    except RatoonError as error:
        problems = [error.message]
    assert all(problems)


def claims(**openai: Any) -> trust.Claims:
    return trust.of_engine(EngineConfig.model_validate({"kind": "openai", "openai": openai}))


SERVERS = [
    {"base_url": "http://theirs.example/v1"},
    {"base_url": "http://[::1]/v1"},
    {"base_url": "http://127.0.0.1:1/v1"},
    {"base_url": "http://mine.example@theirs.example/v1"},
    {"base_url": "http://x/v1", "api_key_env": "HOME"},
]


@pytest.mark.parametrize("server", SERVERS)
def test_no_server_of_a_strangers_run_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: dict[str, str]) -> None:
    monkeypatch.setenv("RATOON_STATE", str(tmp_path / "state"))
    try:
        asked = claims(**server)
    except ValueError:  # a user and password in an address are refused before
        return
    with pytest.raises(UsageError, match="never used with this run"):
        trust.check(tmp_path, ids.content_id("run", "theirs"), asked)


def test_without_that_guard_a_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_is_remembered", lambda run_id, claims: True)
    trust.check(tmp_path, "x_1", claims(base_url="http://theirs.example/v1"))
