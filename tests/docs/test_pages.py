"""What the pages show works: every command and query is run, every piece of TOML is what the code reads, code is the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon import Run, schema
from ratoon.cli import app as cli
from ratoon.config import parse
from ratoon.pipelines.recipe.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = ["quickstart.md", "datasets-and-training.md"]
SHELL = re.compile(r"[$|`;&<>]")  # something that only a shell understands


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of one kind on a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def ratoon_here(
    prefect_here: None, trained_here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """What a plain `ratoon …` prints; in this process, where Prefect and torch are imported once."""

    def call(command: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        assert not code, f"{command}\n{out}{err}"
        return out

    return call


def shell(command: str, folder: Path, server: str) -> str:
    """What a command of a page prints, run where the page's reader is. Fails when the command does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PREFECT_API_URL": server, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}
    line = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs_in_order(
    page: str, smoke_run: Path, ratoon_here: Callable[[str], str], prefect_server: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(smoke_run, tmp_path / "runs" / "smoke")
    (tmp_path / "theirs.jsonl").write_text("".join(blocks(page, "json")))
    commands = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        if command.startswith("ratoon ") and not SHELL.search(command):
            ratoon_here(command)
        else:
            shell(command, tmp_path, prefect_server)
    for number, code in enumerate(blocks(page, "python")):
        (tmp_path / f"block{number}.py").write_text(code)
        assert shell(f"python block{number}.py", tmp_path, prefect_server)


def test_a_command_that_fails_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        shell("ratoon status nowhere | tail -1", tmp_path, "")


@pytest.mark.parametrize("query", blocks("sql.md", "sql"), ids=lambda q: q.split("\n")[0][:40])
def test_every_query_of_the_cookbook_answers(query: str, smoke_run: Path) -> None:
    rows = Run(smoke_run).sql(query).to_arrow_table()
    may_be_empty = "problem_key in (select" in query or "from failures" in query
    assert (rows.num_rows > 0) != may_be_empty


def test_the_annotated_recipe_is_a_recipe() -> None:
    (text,) = blocks("recipes.md", "toml")
    assert parse(Recipe, tomllib.loads(text), "docs/recipes.md").run.name == "school"


@pytest.mark.parametrize("page", ["quickstart.md", "own-tasks-and-verifiers.md"])
def test_every_piece_of_a_recipe_is_understood(page: str) -> None:
    for text in blocks(page, "toml"):
        tree = tomllib.loads(text)
        if "project" not in tree:
            tree.setdefault("tasks", [{"source": "arithmetic", "operation": "add", "n": 1}])
            parse(Recipe, tree, page)


def test_code_shown_is_the_code_of_the_example() -> None:
    package = ROOT / "examples" / "own_package"
    have = "\n".join(path.read_text(encoding="utf-8") for path in (package / "my_checks.py", package / "pyproject.toml"))
    page = "own-tasks-and-verifiers.md"
    shown = [code for code in blocks(page, "python") if code.startswith(("def ", "import re"))]
    shown += [text for text in blocks(page, "toml") if text.startswith("[project.")]
    assert len(shown) == 6
    assert [text for text in shown if text not in have] == []


def test_the_picture_shows_every_table_and_is_the_one_the_script_draws() -> None:
    picture = (DOCS / "img" / "tables.svg").read_text(encoding="utf-8")
    assert [name for name in schema.TABLES if f">{name}</text>" not in picture] == []
    assert subprocess.run([sys.executable, ROOT / "tools" / "tables_svg.py", "--check"], check=False).returncode == 0


def test_the_concepts_name_every_table() -> None:
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    assert [name for name in schema.TABLES if not re.search(rf"^\| .*\b{name}\b.* \|", text, flags=re.MULTILINE)] == []
