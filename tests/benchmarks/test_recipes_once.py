"""A recipe's line of the page, from a finished run and from one that stopped itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ratoon import Run


@pytest.fixture(scope="module")
def once(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("recipes_once")


def test_a_recipe_s_line_holds_its_last_round_and_why_rows_went(once: ModuleType, smoke_run: Path) -> None:
    last = Run(smoke_run).rounds()[-1]
    found = once.read("smoke", Run(smoke_run), None)
    cells = [cell.strip() for cell in once.line(found).strip("|").split("|")]
    assert cells[:5] == ["`smoke`", "–", f"{last['tasks']:,}", f"{last['rollouts']:,}", f"{last['kept']:,}"]
    assert cells[5] == f"{last['kept'] / last['rollouts']:.3f}"
    assert cells[9].startswith(f"{last['gain']['value']:+.3f} [")
    assert "not_verified" in cells[10] or "fail" in cells[10]


def test_a_run_that_stopped_itself_is_told_with_its_reason(once: ModuleType, smoke_run: Path) -> None:
    found = once.read("smoke", Run(smoke_run), "only 3 examples are left")
    assert once.line(found).endswith("| stopped: only 3 examples are left |")
