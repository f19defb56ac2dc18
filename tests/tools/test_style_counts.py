"""What the counter of style counts, on a few lines of code."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "style_counts.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("style_counts", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["style_counts"] = module
    spec.loader.exec_module(module)
    return module


def test_participles_count_where_a_function_binds_them_and_nowhere_else(tool: ModuleType) -> None:
    source = "found = 1\ndef f(told):\n    made, rows = told\n    for wanted in rows:\n        print(wanted, found)\n"
    assert tool.participle_locals(source) == {"made": 1, "wanted": 1}


def test_a_functions_lines_run_from_its_first_decorator_to_its_last_line(tool: ModuleType) -> None:
    assert tool.function_lengths(["@a\n@b\ndef f():\n    pass\n\n\ndef g(): pass\n"]) == [1, 4]


def test_every_count_is_told_of_the_checkout(tool: ModuleType) -> None:
    assert set(tool.counts(TOOL.parents[1])) == {
        "functions", "lines over 100 characters", "# fmt: skip", "locals named by bare participles", "Any", "comment lines",
    }  # fmt: skip
