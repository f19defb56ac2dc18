"""The page of the study of votes against the truth; the runs themselves belong to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ratoon import Run


@pytest.fixture(scope="module")
def study(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("consensus_study")


def test_the_page_holds_both_arms_and_their_paired_difference(study: ModuleType, smoke_run: Path) -> None:
    run = Run(smoke_run)
    both = {"consensus": run, "truth": run}
    page = study.report({0: both, 1: both}, "smoke")
    gain = run.rounds()[-1]["gain"]["value"]
    assert page.count(f"pooled over seeds [0, 1]: **{gain:+.3f} [") == 2
    assert "Consensus minus truth, paired on the same held-out tasks: **+0.000 [+0.000, +0.000]**" in page
    assert page.count("| consensus | ") == page.count("| truth | ") == 2
    assert ", ".join(str(n) for n in study.kept(run)) in page


def test_the_study_s_section_is_added_once_and_replaced_after(study: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n## The demo\n\nkept\n")
    for text in ("first", "second"):
        study.write(page, f"{study.MARK}\n\n{text}\n")
    found = page.read_text()
    assert found.count(study.HEADING) == 1
    assert "first" not in found
    assert found.startswith("# Results\n\n## The demo\n\nkept\n")
