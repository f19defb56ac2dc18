"""The demo study's page, written from a small finished run: the runs themselves belong to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ratoon import Run


@pytest.fixture(scope="module")
def study(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("demo_study")


def test_the_page_holds_every_run_its_intervals_and_the_pooled_gain(study: ModuleType, smoke_run: Path) -> None:
    run = Run(smoke_run)
    page = study.report({0: (run, 12.0), 1: (run, 13.0)}, (run, None), "smoke")
    gain = run.rounds()[-1]["gain"]["value"]
    assert page.count(f"| {gain:.3f} [") >= 3
    assert f"paired gain **{gain:+.3f} [" in page  # two equal runs pool to the gain of one
    assert "against the control, both after round 2, paired: +0.000 [+0.000, +0.000]" in page
    assert "`trivial:echo` scores" in page
    assert page.count("### ") == 3


def test_only_the_studys_own_section_of_the_page_is_replaced(study: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text(f"# Results\n\nbefore\n\n{study.MARK}\n\nold\n\n## After\n\nkept\n")
    study.write(page, f"{study.MARK}\n\nnew\n")
    text = page.read_text()
    assert "old" not in text
    assert "new" in text
    assert text.startswith("# Results\n\nbefore\n")
    assert text.endswith("## After\n\nkept\n")
