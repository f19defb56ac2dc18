"""The documentation says what the code does: commands, recipes, links, generated pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """A page without its code: fenced, indented and inline."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> Iterator[str]:
    """Relative links of `text` that lead nowhere; links to other hosts are not followed."""
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            yield link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert not list(broken_links(path, prose(path)))


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n")
    text = "[a](page.md) [b](page.md#one-two) [c](#one-two) [d](https://example.org/x) ![e](gone.png) [f](page.md#three)"
    assert list(broken_links(page, text)) == ["gone.png", "page.md#three"]


def test_every_recipe_is_mentioned_in_the_docs() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES if path.name != "CHANGELOG.md")
    assert not [path.name for path in (ROOT / "recipes").glob("*.toml") if f"recipes/{path.name}" not in text]


def test_every_recipe_opens_with_a_comment_that_says_what_it_is() -> None:
    assert not [p.name for p in (ROOT / "recipes").glob("*.toml") if not p.read_text(encoding="utf-8").startswith("# ")]


def test_every_decision_has_a_number_of_its_own_and_a_status() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [path.name[:4] for path in pages]
    assert len(set(numbers)) == len(numbers)
    assert not [path.name for path in pages if "Status:" not in path.read_text(encoding="utf-8")]


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert re.search(r"^## \[Unreleased\]$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_the_generated_pages_are_what_the_generator_writes_now() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gen_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_every_command_is_in_the_reference_and_has_help() -> None:
    import typer.main

    from ratoon.cli.app import app

    commands = {name: command for name, command in typer.main.get_command(app).commands.items() if not command.hidden}
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"## `ratoon {name}`" not in text] == []
    assert [name for name, command in commands.items() if not command.help] == []


def test_every_argument_and_option_has_help() -> None:
    import typer.main

    from ratoon.cli.app import app

    commands = typer.main.get_command(app).commands
    bare = [f"{name} {p.name}" for name, command in commands.items() for p in command.params if p.name != "help" and not p.help]
    assert bare == []
