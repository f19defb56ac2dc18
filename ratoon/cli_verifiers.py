"""`ratoon verifiers`: how often the verifiers of a recipe err on planted replies."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any

import typer

Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
]


def verifiers(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a TOML file, or the name of a shipped recipe")],
    set_: Sets = None,
    formats: Annotated[bool, typer.Option("--formats", help="one row per planted format that was misread")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """False positive and false negative rate of each verifier of a recipe, on planted right and wrong answers.

    Asks no model. Ends with code 3 where a verifier is below its floor (verify.measure), as `ratoon run` would.
    """
    from ratoon.cli_print import print_rows
    from ratoon.pipelines.measure import below_floors, measure_recipe, stopped
    from ratoon.pipelines.recipe import load

    loaded = load(recipe, set_ or [])
    found = measure_recipe(loaded)
    below = below_floors(found, loaded.verify.measure)
    if json:
        rows = [
            _row(one) | {"below": below.get(one.verifier, []), "formats": [f._asdict() for f in one.formats]} for one in found
        ]
        typer.echo(jsons.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print_rows([_short(one) for one in found], title=f"planted replies of {Path(recipe).stem}; rates with 95 % intervals")
        if formats:
            for one in found:
                misread = [f._asdict() for f in one.formats if f.errors]
                print_rows(misread, title=f"{one.verifier}: formats it misread (traps are in no rate)")
    if below:
        raise stopped(below)


def _row(one: Any) -> dict[str, Any]:
    """A verifier's rates as plain JSON."""
    rates = {name: None if rate is None else rate._asdict() for name, rate in (("fpr", one.fpr), ("fnr", one.fnr))}
    return {"verifier": one.verifier, "version": one.version, "unjudged": one.unjudged, **rates}


def _short(one: Any) -> dict[str, Any]:
    traps = [f for f in one.formats if f.trap]
    return {
        "verifier": one.verifier, "version": one.version, "false positives": _said(one.fpr), "false negatives": _said(one.fnr),
        "unjudged": one.unjudged, "traps misread": f"{sum(f.errors for f in traps)}/{sum(f.n for f in traps)}",
    }  # fmt: skip


def _said(rate: Any) -> str | None:
    return None if rate is None else f"{rate.value:.1%} ({rate.lo:.1%} to {rate.hi:.1%}) of {rate.n}"
