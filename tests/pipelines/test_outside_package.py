"""A verifier, a task source and a filter of somebody else's installed package, in worker processes and in a whole run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon import Run
from ratoon.errors import ConfigError, UsageError
from ratoon.metrics.verifiers import resolve, version
from ratoon.metrics.verifiers.pool import Item, VerifierPool

PACKAGE = Path(__file__).resolve().parent.parent.parent / "examples" / "own_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of site-packages that holds the example's package, installed by pip without a network."""
    root = tmp_path_factory.mktemp("outside")
    source = shutil.copytree(PACKAGE, root / "source")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(root / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return root / "site"


@pytest.fixture
def outside(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package on this process's path, and gone again afterwards."""
    monkeypatch.syspath_prepend(installed)
    yield installed
    sys.modules.pop("my_checks", None)


def verdicts(*texts: str) -> list[str]:
    with VerifierPool(workers=1) as pool:
        return [v.status for v in pool.run([Item("parity", text, "even", {}) for text in texts])]


def test_an_installed_verifier_judges_in_worker_processes(outside: Path) -> None:
    assert verdicts("It is even.", "It is odd.", "", "odd or even", "evenly") == ["pass", "fail", "fail", "fail", "fail"]


def test_its_version_is_the_digest_of_its_source(outside: Path) -> None:
    first = version("parity")
    path = outside / "my_checks.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("said == {answer}", "answer in said"))
        sys.modules.pop("my_checks")
        shutil.rmtree(outside / "__pycache__", ignore_errors=True)
        assert version("parity") != first
    finally:
        path.write_text(text)


def test_without_the_package_the_name_is_unknown_and_the_nearest_is_offered() -> None:
    with pytest.raises(UsageError, match="no verifier is called 'parity'"):
        resolve("parity")


def test_a_verifier_is_ten_lines_with_its_entry_point() -> None:
    code = (PACKAGE / "my_checks.py").read_text()
    function = re.search(r"def parity\(.*?\n\n", code, flags=re.DOTALL)
    assert function
    entry = re.search(r'\[project.entry-points."ratoon.verifiers"\]\n.*\n', (PACKAGE / "pyproject.toml").read_text())
    assert entry
    assert len((function[0] + entry[0]).strip().splitlines()) <= 10


@pytest.mark.usefixtures("prefect_here")
def test_tasks_verifier_and_filter_of_a_package_go_through_a_whole_run(outside: Path, tmp_path: Path) -> None:
    few = ["run.iterations=0", "tasks.0.config={first = 100, n = 24}"]
    run = Run.start(PACKAGE / "parity.toml", tmp_path / "run", sets=few, quiet=True)
    assert run.sql("select distinct family, verifier from tasks").fetchall() == [("parity_tasks", "parity")]
    assert {s for (s,) in run.sql("select status from scores where subject_kind = 'rollout'").fetchall()} == {"pass", "fail"}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here", "trained_here")
def test_the_example_recipe_trains_on_what_its_own_filter_kept(outside: Path, tmp_path: Path) -> None:
    run = Run.start(PACKAGE / "parity.toml", tmp_path / "run", quiet=True)
    assert ("at_most_words",) in run.sql("select distinct filter from decisions").fetchall()
    assert run.sql("select count(*) from policies where kind <> 'base'").fetchall() == [(1,)]


@pytest.mark.usefixtures("prefect_here")
def test_a_package_that_is_not_installed_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no entry point 'parity_tasks'"):
        Run.start(PACKAGE / "parity.toml", tmp_path / "run", quiet=True)
