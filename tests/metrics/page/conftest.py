"""One made-up report, one page and one browser for all tests of the page."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ratoon.metrics.page import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """`made.py`: reports as an audit would write them."""
    spec = importlib.util.spec_from_file_location("made_reports", Path(__file__).with_name("made.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def html(made: ModuleType) -> str:
    return render(made.report())


@pytest.fixture(scope="session")
def page_file(html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, once; skips with a reason where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'ratoon[dev]'")
    if CHROMIUM is None:
        pytest.skip("no browser: sudo apt install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def visiting(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens files and notes their `complaints` and `requests`; options are those of a browser context."""
    contexts = []

    def go(path: Path, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # a busy machine is no fault of the page
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        return page

    try:
        yield go
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """`visit(file, **options)`: a page that this test alone looks at."""
    with visiting(browser) as go:
        yield go


@pytest.fixture(scope="module")
def visit_shared(browser: Any) -> Iterator[Callable[..., Any]]:
    """`visit_shared(file, **options)`: a page for several tests."""
    with visiting(browser) as go:
        yield go
