"""The page of a small file's audit: opened, silent, alone. 50,000 rows: `python benchmarks/audit_page.py --file`."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("audit_page")
    finally:
        sys.path.remove(str(FOLDER))


def test_the_page_of_an_audited_file_is_small_silent_and_asks_for_nothing() -> None:
    pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'ratoon[dev]'")
    if shutil.which("chromium") is None:
        pytest.skip("no browser: sudo apt install chromium")
    # In a process of its own: a second browser beside that of the page's tests is refused.
    told = [sys.executable, str(FOLDER / "audit_page.py"), "--file", "--rows", "400", "--tier", "cheap", "--runs", "1"]
    figures = json.loads(subprocess.run(told, check=True, capture_output=True, text=True).stdout.rpartition("bars")[0])
    assert (figures["audited"], figures["rows"], figures["dots"]) == (400, 400, 0)
    assert (figures["console"], figures["requests_beyond"]) == ([], [])
    assert figures["megabytes"] < 3


def test_a_page_that_asks_for_more_misses_its_bars(bench: ModuleType) -> None:
    figures = {"open_s": 1.0, "megabytes": 2.0, "console": [], "requests_beyond": []}
    assert bench.held(figures)
    assert not bench.held({**figures, "requests_beyond": ["https://example.org/x.js"]})
    assert not bench.held({**figures, "console": ["Refused to run"]})
    assert not bench.held({**figures, "open_s": 3.1})
