"""The generator of the reference pages, on a small app and a small model tree."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field

from ratoon.config import Config, operational
from ratoon.metrics.verifiers import VERIFIERS

ROOT = Path(__file__).resolve().parent.parent.parent


class Length(Config):
    """Keeps what is short enough."""

    name: Literal["length"] = Field("length", description="which filter")
    most: int = Field(96, ge=1, description="tokens at most | inclusive")


class Band(Config):
    """Keeps what lies in a band."""

    name: Literal["band"] = Field("band", description="which filter")
    band: tuple[float, float] = Field((0.1, 0.9), description="low and high end")


class Server(Config):
    """Where it runs."""

    url: str | None = operational(None, description="address")


class Suite(Config):
    """How to evaluate."""

    split: Literal["eval", "probe"] = Field("eval", description="which tasks")


class Small(Config):
    """A small recipe."""

    title: str = Field(description="what it is called")
    ids: tuple[int, ...] = Field((), description="some ids, as runs/<name>")
    server: Server = Field(Server(), description="the server")
    filters: tuple[Annotated[Length | Band, Field(discriminator="name")], ...] = Field((), description="in order")
    suites: dict[str, Suite] = Field({}, description="by name")


@pytest.fixture(scope="module")
def gen_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ratoon_tools_gen_docs", ROOT / "tools" / "gen_docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config_page(gen_docs: ModuleType) -> str:
    return gen_docs.config_page(Small)


@pytest.mark.parametrize(
    "line",
    [
        "| `title` | string | required | what it is called |",
        "| `ids` | list of integers | `[]` | some ids, as runs/&lt;name> |",
        "| `server` | table, below |  | the server |",
        "## `[server]`",
        "| `url` | string or null | `null` | address *(where/how fast)* |",
        '## `[[filters]]` with `name = "length"`',
        "| `most` | integer, ≥ 1 | `96` | tokens at most \\| inclusive |",
        '## `[[filters]]` with `name = "band"`',
        "| `band` | [number, number] | `[0.1, 0.9]` | low and high end |",
        "## `[suites.NAME]`",
        '| `split` | `"eval"` or `"probe"` | `"eval"` | which tasks |',
    ],
)
def test_the_config_page_names_every_key_with_its_kind_default_and_meaning(config_page: str, line: str) -> None:
    assert line in config_page.splitlines()


def test_every_argument_of_every_verifier_is_on_the_page(gen_docs: ModuleType) -> None:
    page = gen_docs.arguments_page(VERIFIERS)
    for name, verifier in VERIFIERS.items():
        of_one = page.split(f'## `verifier = "{name}"`')[1].split("\n## ")[0]
        assert all(f"| `{argument}` |" in of_one for argument in verifier.args.model_fields)


def small_app() -> typer.Typer:
    app = typer.Typer(help="A small program.")

    @app.command("grow", epilog="Example: small grow rice.toml")
    def grow(
        recipe: Annotated[Path, typer.Argument(help="what to grow")],
        rounds: Annotated[int, typer.Option("--rounds", "-n", help="how often")] = 3,
        changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a change")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    ) -> None:
        """Grow a crop.

        It takes a season.
        """

    @app.command("secret", hidden=True)
    def secret() -> None:
        """Not to be found."""

    @app.command("rest")
    def rest() -> None:
        """Do nothing."""

    return app


@pytest.fixture(scope="module")
def cli_page(gen_docs: ModuleType) -> str:
    return gen_docs.cli_page(small_app())


@pytest.mark.parametrize(
    "line",
    [
        "A small program.",
        "| [`ratoon grow`](#ratoon-grow) | Grow a crop. |",
        "## `ratoon grow`",
        "    ratoon grow RECIPE [OPTIONS]",
        "It takes a season.",
        "| `RECIPE` | what to grow | required |",
        "| `--rounds`, `-n` `ROUNDS` | how often | `3` |",
        "| `--set` `KEY=VALUE` (may be repeated) | a change |  |",
        "| `--json` | for machines |  |",
        "    small grow rice.toml",
        "    ratoon rest",
    ],
)
def test_the_command_page_names_every_command_argument_and_option(cli_page: str, line: str) -> None:
    assert line in cli_page.splitlines()


def test_a_hidden_command_is_not_documented(cli_page: str) -> None:
    assert "secret" not in cli_page
