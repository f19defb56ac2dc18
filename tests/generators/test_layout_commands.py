"""The page of data formats says of each layout which commands take it; the smallest examples say whether that is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ratoon import config
from ratoon.errors import DataError
from ratoon.generators import imported
from ratoon.generators.tasks.dataset import DatasetConfig, propose
from ratoon.rows.layouts import LAYOUTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data-formats.md").read_text()
TOLD = {row[1]: row[2].split(", ") for row in re.finditer(r"^\| ([\w ]+?) \| .*\| ([a-z, ]*?) ?\|$", PAGE, re.MULTILINE)}


def taken_as_tasks(path: Path) -> bool:
    arm = config.parse(DatasetConfig, {"path": str(path), "columns": {"answer": ""}}, "tasks.0")
    try:
        return propose(arm, 0).tasks.num_rows == 1
    except DataError:
        return False


def taken_as_replies(path: Path) -> bool:
    try:
        return bool(imported.read(path, imported.column_map(path)).rows)
    except DataError:
        return False


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_page_says_which_commands_take_a_layout(name: str, tmp_path: Path) -> None:
    path = tmp_path / "example.jsonl"
    path.write_text(json.dumps(LAYOUTS[name].example) + "\n")
    assert taken_as_tasks(path) == ("tasks" in TOLD[name])
    assert taken_as_replies(path) == ("import" in TOLD[name]) == ("train" in TOLD[name])
