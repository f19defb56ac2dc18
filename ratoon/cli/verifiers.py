"""`ratoon verifiers`: how often the verifiers of a recipe err on planted replies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ratoon.cli import echo
from ratoon.errors import UsageError

Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
]


def verifiers(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="a TOML file, or the name of a shipped recipe; none with --check")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="FILE", help="judge labelled replies instead: JSONL rows of reply, answer, verifier, args, right"
        ),
    ] = None,
    allow: Annotated[int, typer.Option("--allow", min=0, help="with --check: this many disagreements end with code 0")] = 0,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="also measure on a run's own replies, and correct its pass rates"),
    ] = None,
    set_: Sets = None,
    formats: Annotated[bool, typer.Option("--formats", help="one row per planted format that was misread")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """False positive and false negative rate of each verifier of a recipe, on planted right and wrong answers.

    Asks no model. Ends with code 3 where a verifier is below its floor (verify.measure), as `ratoon run` would. With --check
    the replies are yours: a confusion table, each disagreement, and code 3 where there are more than --allow.
    """
    if check is not None:
        from ratoon.cli.check_replies import check_replies

        check_replies(check, allow, json)
        return
    if recipe is None:
        raise UsageError("there is no recipe to take verifiers from", "give RECIPE, or labelled replies with --check FILE")
    from ratoon.pipelines.evaluation.verifiers import below_floors, measure_recipe, stopped
    from ratoon.pipelines.recipe.recipe import load

    loaded = load(recipe, set_ or [])
    found = measure_recipe(loaded)
    below = below_floors(found, loaded.verify.measure)
    naturals, rates = _of_run(run, found)
    if json:
        rows = [
            _row(one) | {"below": below.get(one.verifier, []), "formats": [f._asdict() for f in one.formats]} for one in found
        ]
        told = rows if run is None else {"planted": rows, "natural": [_row(one) for one in naturals], "rates": _plain(rates)}
        echo.json(told)
    else:
        _print(Path(recipe).stem, found, naturals, rates, formats)
    if below:
        raise stopped(below)


def _of_run(run: Path | None, found: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    if run is None:
        return [], []
    from ratoon.pipelines.evaluation.verifiers_of_run import measure_run

    return measure_run(run, found)


def _print(name: str, found: Any, naturals: Any, rates: list[dict[str, Any]], formats: bool) -> None:
    from ratoon.cli.print import print_rows

    print_rows([_short(one) for one in found], title=f"planted replies of {name}; rates with 95 % intervals")
    for one in found if formats else ():
        misread = [f._asdict() for f in one.formats if f.errors]
        print_rows(misread, title=f"{one.verifier}: formats it misread (traps are in no rate)")
    if naturals:
        print_rows([_short_natural(one) for one in naturals], title="the run's own replies against the hidden truth")
    if rates:
        shown = [
            {"round": r["iteration"], "of": r["of"], "verifier": r["verifier"], "observed": _said(r["observed"]),
             "corrected": _said(r["corrected"]) or r["why"]}
            for r in rates
        ]  # fmt: skip
        print_rows(shown, title="pass rates, and what is behind them by the planted rates; n are problems")


def _plain(rates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r | {name: None if r[name] is None else r[name]._asdict() for name in ("observed", "corrected")} for r in rates]


def _row(one: Any) -> dict[str, Any]:
    """A verifier's rates as plain JSON."""
    rates = {name: None if rate is None else rate._asdict() for name, rate in (("fpr", one.fpr), ("fnr", one.fnr))}
    counts = {name: getattr(one, name) for name in ("unjudged", "judged", "decided", "off_format") if hasattr(one, name)}
    return {"verifier": one.verifier, "version": one.version, **counts, **rates}


def _short(one: Any) -> dict[str, Any]:
    traps = [f for f in one.formats if f.trap]
    return {
        "verifier": one.verifier, "version": one.version, "false positives": _said(one.fpr), "false negatives": _said(one.fnr),
        "unjudged": one.unjudged, "traps misread": f"{sum(f.errors for f in traps)}/{sum(f.n for f in traps)}",
    }  # fmt: skip


def _short_natural(one: Any) -> dict[str, Any]:
    return {
        "verifier": one.verifier, "false positives": _said(one.fpr), "false negatives": _said(one.fnr),
        "clear-cut": f"{one.decided} of {one.judged}", "off format": one.off_format,
    }  # fmt: skip


def _said(rate: Any) -> str | None:
    return None if rate is None else f"{rate.value:.1%} ({rate.lo:.1%} to {rate.hi:.1%}) of {rate.n}"
