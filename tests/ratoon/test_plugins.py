"""A user's function is another component when anything in its module changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ratoon import plugins

MINE = """
def helper(text):
    return text.strip()

def verify(text, answer, args):
    return helper(text) == answer

def lenient(text, answer, args):
    return helper(text) == answer
"""


def _load(path: Path, source: str, name: str = "verify") -> Callable[..., Any]:
    path.write_text(source)
    module = ModuleType("mine")
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    sys.modules["mine"] = module
    return getattr(module, name)


def test_an_edited_helper_beside_the_function_changes_its_version_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mine", ModuleType("mine"))
    path = tmp_path / "mine.py"
    first = plugins.version(_load(path, MINE))
    assert plugins.version(_load(path, MINE)) == first
    assert plugins.version(_load(path, MINE.replace(".strip()", ".strip().lower()"))) != first
    assert plugins.version(_load(path, MINE, "lenient")) != first


def test_a_function_without_source_is_known_by_its_name() -> None:
    made: dict[str, Any] = {}
    exec("def one(): return 1\ndef other(): return 1", made)
    assert plugins.version(made["one"]) == plugins.version(made["one"]) != plugins.version(made["other"])
    assert plugins.version(len) != plugins.version(abs)
