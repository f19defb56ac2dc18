"""`ratoon verifiers`: how often the verifiers of a recipe err on planted replies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ratoon.cli import echo
from ratoon.errors import UsageError

_WEAK = 20  # tasks that are named
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
    found, tested = measure_recipe(loaded)
    below = below_floors(found, loaded.verify.measure)
    naturals, rates = _of_run(run, found)
    if json:
        told = _as_json(found, tested, below)
        if run is not None:
            told = {"planted": told, "natural": [_row(one) for one in naturals], "rates": _plain(rates)}
        echo.json(told)
    else:
        _print(Path(recipe).stem, found, naturals, rates, formats)
        _print_tests(tested)
    if below:
        raise stopped(below)


def _as_json(found: Any, tested: Any, below: Any) -> Any:
    """The verifiers' rates, and how good the tests of programs are where there are some."""
    rows = [
        _row(one)
        | {"below": below.get(one.verifier, []), "formats": [f._asdict() for f in one.formats]}
        | {"families": [_plain_family(f) for f in one.families]}
        for one in found
    ]
    return rows + ([_of_tests(tested)] if tested else [])


def _of_run(run: Path | None, found: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    if run is None:
        return [], []
    from ratoon.pipelines.evaluation.verifiers_of_run import measure_run

    return measure_run(run, found)


def _print(name: str, found: Any, naturals: Any, rates: list[dict[str, Any]], formats: bool) -> None:
    from ratoon.cli.print import print_rows

    print_rows([_short(one) for one in found], title=f"planted replies of {name}; rates with 95 % intervals")
    for one in found:
        families = [_family(family) for family in one.families if _errs(family)]
        if families:
            title = f"{one.verifier}: families of wordings that it misreads, worst first, of {len(one.families)}"
            print_rows(families, title=title)
    for one in found if formats else ():
        misread = [f._asdict() for f in one.formats if f.errors]
        print_rows(misread, title=f"{one.verifier}: formats it misread (only those asked for are in a rate, and no traps)")
    if naturals:
        print_rows([_short_natural(one) for one in naturals], title="the run's own replies against the hidden truth")
    if rates:
        shown = [
            {"round": r["iteration"], "of": r["of"], "verifier": r["verifier"], "observed": _said(r["observed"]),
             "corrected": _said(r["corrected"]) or r["why"]}
            for r in rates
        ]  # fmt: skip
        print_rows(shown, title="pass rates, and what is behind them by the planted rates; n are problems")


def _of_tests(tested: Any) -> dict[str, Any]:
    """How good the tests of programs are, as plain JSON."""
    from ratoon.metrics.verifier_errors.weak_tests import share

    of_all = share(tested)
    weak = [{"task_id": one.task_id, "judged": one.judged, "passed": one.passed} for one in tested if one.passed]
    return {"verifier": "code", "mutants_passed": of_all and of_all._asdict(), "tasks": len(tested), "weak_tests": weak}


def _print_tests(tested: Any) -> None:
    """The tasks whose tests let wrong programs pass, worst first."""
    from ratoon.cli.print import print_rows
    from ratoon.metrics.verifier_errors.weak_tests import share

    if not tested:
        return
    weak = [one for one in tested if one.passed]
    title = (
        f"tests of {len(tested)} tasks: {_said(share(tested))} wrong programs pass; {len(weak)} tasks let some pass, "
        "worst first (a mutant may do what the gold does: read it)"
    )
    rows = [
        {"task": one.task_id, "pass": f"{len(one.passed)}/{one.judged}", "changed": "; ".join(one.passed)}
        for one in weak[:_WEAK]
    ]
    print_rows(rows, title=title)


def _plain(rates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r | {name: None if r[name] is None else r[name]._asdict() for name in ("observed", "corrected")} for r in rates]


def _row(one: Any) -> dict[str, Any]:
    """A verifier's rates as plain JSON."""
    named = {name: getattr(one, name) for name in ("fpr", "fnr", "j") if hasattr(one, name)}
    rates = {name: None if rate is None else rate._asdict() for name, rate in named.items()}
    counts = {name: getattr(one, name) for name in ("unjudged", "judged", "decided", "off_format") if hasattr(one, name)}
    return {"verifier": one.verifier, "version": one.version, **counts, **rates}


def _short(one: Any) -> dict[str, Any]:
    traps = [f for f in one.formats if f.trap]
    return {
        "verifier": one.verifier, "version": one.version, "false positives": _said(one.fpr), "false negatives": _said(one.fnr),
        "J": _number(one.j), "unjudged": one.unjudged,
        "traps misread": f"{sum(f.errors for f in traps)}/{sum(f.n for f in traps)}",
    }  # fmt: skip


def _errs(family: Any) -> bool:
    return any(rate is not None and rate.value > 0 for rate in (family.fpr, family.fnr))


def _family(family: Any) -> dict[str, Any]:
    return {
        "family": family.family, "asked for": "yes" if family.asked else "no", "false positives": _said(family.fpr),
        "false negatives": _said(family.fnr), "J": _number(family.j),
    }  # fmt: skip


def _plain_family(family: Any) -> dict[str, Any]:
    rates = {"fpr": family.fpr, "fnr": family.fnr, "j": family.j}
    named = {name: None if rate is None else rate._asdict() for name, rate in rates.items()}
    return {"family": family.family, "asked": family.asked, **named}


def _short_natural(one: Any) -> dict[str, Any]:
    return {
        "verifier": one.verifier, "false positives": _said(one.fpr), "false negatives": _said(one.fnr),
        "clear-cut": f"{one.decided} of {one.judged}", "off format": one.off_format,
    }  # fmt: skip


def _number(rate: Any) -> str | None:
    return None if rate is None else f"{rate.value:.2f} ({rate.lo:.2f} to {rate.hi:.2f})"


def _said(rate: Any) -> str | None:
    return None if rate is None else f"{rate.value:.1%} ({rate.lo:.1%} to {rate.hi:.1%}) of {rate.n}"
