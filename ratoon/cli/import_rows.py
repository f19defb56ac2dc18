"""`ratoon import`: rollouts made elsewhere, of any layout, as a round of a run."""

from __future__ import annotations

import json as jsons
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ratoon.cli import echo
from ratoon.errors import ConfigError


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a file of prompts and replies, in any layout")],
    run: Annotated[Path, typer.Option("--run", metavar="DIR", help="the run to make or add to")],
    recipe: Annotated[str | None, typer.Option(help="recipe with [model] and [[filters]]; default the run's own")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--column", metavar="NAME=ROLE", help="what a column is; repeatable")
    ] = None,
    verifier: Annotated[str, typer.Option(help="verifier for rows with an answer")] = "numeric",
    verifier_args: Annotated[str, typer.Option(metavar="JSON", help="the verifier's arguments, an object")] = "{}",
    argument: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="a column that holds an argument; A,B or A, makes a list; repeatable"),
    ] = None,
    answer_after: Annotated[str | None, typer.Option(metavar="MARK", help="the gold is what follows the last, as ####")] = None,
    answer_regex: Annotated[
        str | None, typer.Option(metavar="REGEX", help="the gold is its last match, or that of its first group")
    ] = None,
    boxed: Annotated[bool, typer.Option("--boxed", help="the gold is the content of the last \\boxed{}")] = False,
    index_into: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="the gold is the choice that it names by place (from 0) or letter")
    ] = None,
    finish_reason: Annotated[
        str | None, typer.Option(help="stop or length: how rows ended that do not say; unknown if not given")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Take in rollouts made elsewhere: verified, grouped and ready to curate."""
    from ratoon.cli.print import print_records
    from ratoon.generators.imported import Judged
    from ratoon.pipelines.flows.import_rollouts import bring
    from ratoon.rows.golds import GoldRule, checked_regex

    regex = None if answer_regex is None else checked_regex(answer_regex)
    gold = GoldRule(answer_after or None, regex, boxed, index_into)
    judged = Judged(gold, _object(verifier_args), _arguments(argument or []))
    told = bring(file, run, recipe=recipe, columns=columns or [], verifier=verifier, finish_reason=finish_reason, judged=judged)
    if json:
        echo.json(told)
        return
    notes = told.pop("notes")
    print_records(f"{file.name} in {run}", [told])
    for note in notes:
        echo.line(note)


def _object(text: str) -> dict[str, Any]:
    try:
        value = jsons.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"--verifier-args is no JSON: {error}", """for example --verifier-args '{"engine": "sqlite"}'"""
        ) from None
    if not isinstance(value, dict):
        raise ConfigError(f"--verifier-args is a JSON {type(value).__name__}", "give an object")
    return value


def _arguments(items: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The column of each argument, or the columns whose values make one list."""
    found: dict[str, str | tuple[str, ...]] = {}
    for item in items:
        name, equals, columns = (part.strip() for part in item.partition("="))
        names = tuple(column.strip() for column in columns.split(",") if column.strip())
        if not (equals and name and names):
            raise ConfigError(f"--argument {item!r} is not NAME=COLUMN", "for example --argument tests=test_list")
        found[name] = names if "," in columns else names[0]
    return found
