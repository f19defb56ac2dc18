"""The curation study's section, written from small finished runs: equal arms differ by nothing, other sections stay."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ratoon import Run
from ratoon.pipelines.recipe.recipe import load

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("curation_study", FOLDER / "curation_study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_section_has_every_arm_and_equal_arms_differ_by_nothing(study: ModuleType, smoke_run: Path) -> None:
    run = Run(smoke_run)
    page = study.report({arm: {0: run, 1: run} for arm in ("curated", "control", "everything")}, "smoke")
    assert page.count("\n| curated |") == page.count("\n| control |") == page.count("\n| everything |") == 2
    assert "Curated against control, paired over seeds [0, 1]: **+0.000 [+0.000, +0.000]**." in page


def test_the_filters_of_every_arm_are_a_recipe(study: ModuleType) -> None:
    curated = load("demo", [f"filters=[{study.CURATED}]"])
    gates = load("demo", [f"filters=[{study.CORRECT}]"])
    assert {f.kind for f in gates.filters} < {f.kind for f in curated.filters}


def test_only_the_studys_own_section_is_replaced(study: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n## The demo\n\nkept\n")
    study.write(page, f"{study.MARK}\n\nold\n")
    page.write_text(page.read_text() + "\n## After\n\nkept too\n")
    study.write(page, f"{study.MARK}\n\nnew\n")
    text = page.read_text()
    assert "old" not in text
    assert "new" in text
    assert text.count("kept") == 2
