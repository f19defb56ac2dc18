"""`ratoon diff`: what changed between two datasets, rounds or files, and rules that fail a build."""

from __future__ import annotations

import json as jsons
from typing import Annotated, Any

import typer

from ratoon.cli import echo

_SIDE = "a dataset folder, a run (its newest round; RUN@2 for round 2), or a Parquet, JSONL or CSV file"


def diff(
    old: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    new: Annotated[str, typer.Argument(metavar="B", help="the same kinds; changes are B - A")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="RULE", help="rows_removed>0.05, vendi<-10%, contamination>0 …; repeatable; exit 3"),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", metavar="FILE", help="an evaluation set no row may hold; repeatable")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=ROLE", help="what a file's column is, such as ask=prompt; repeatable"),
    ] = None,
    tier: Annotated[
        str, typer.Option(help="cheap, or medium: embeds a sample of either side; a rule may ask for it")
    ] = "cheap",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a field of [audit], such as sample=500")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown, for a pull request")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """What changed: rows added and removed, decisions, quality, diversity and complexity at equal n with intervals.

    A rule that holds fails the command with exit code 3, so that data is tested like code.
    """
    from ratoon.config import apply_sets, parse
    from ratoon.errors import UsageError
    from ratoon.pipelines.audit.columns import pairs
    from ratoon.pipelines.audit.diff import diff as compare
    from ratoon.pipelines.recipe.sections import AuditConfig

    if markdown and json:
        raise UsageError("--markdown and --json exclude one another", "give one of them")
    sets = [f"tier={jsons.dumps(tier)}", *(set_ or []), *([f"benchmarks={jsons.dumps(benchmark)}"] if benchmark else [])]
    config = parse(AuditConfig, apply_sets({}, sets), "the settings of the comparison")
    found = compare(old, new, fail_on or [], config=config, columns=pairs(columns or []), say=_say)
    if json:
        echo.json(found.told)
    elif markdown:
        from ratoon.metrics.report.diff_text import markdown as rendered

        echo.line(rendered(found.told).removesuffix("\n"))
    else:
        _print(found.told)
    if found.failed:
        raise typer.Exit(3)


def _say(line: str) -> None:
    echo.line(line, err=True)


def _print(told: dict[str, Any]) -> None:
    from ratoon.cli.print import cell, print_rows

    old, new, rows = told["old"], told["new"], told["rows"]
    echo.line(f"{cell(old['name'])} ({old['rows']} rows) → {cell(new['name'])} ({new['rows']} rows)")
    for name in ("added", "removed", "common", "changed", "decided_anew", "contamination"):
        if rows[name] is not None:
            echo.line(f"{name.replace('_', ' '):>16}  {cell(int(rows[name]))}")
    for title, counts in (("changed in", told["columns"]), ("spelled otherwise", told["spelled_otherwise"])):
        if counts:
            echo.line(f"{title:>16}  {', '.join(f'{cell(name)} {n}' for name, n in counts.items())}")
    shown = [d for d in told["differences"] if d["detectable"]]
    print_rows([_difference(d) for d in shown], title="changes (B - A, 95 % interval)")
    untold = len(told["differences"]) - len(shown)
    echo.line(f"{untold} numbers without a change that an interval tells, {len(told['not_compared'])} not compared (--json)")
    for rule in told["rules"]:
        value = "unknown" if rule["value"] is None else cell(rule["value"])
        echo.line(f"{'FAILS' if rule['fails'] else 'ok':>5}  {rule['rule']}: {value}; {cell(rule['why'])}")


def _difference(one: dict[str, Any]) -> dict[str, Any]:
    bounds = None if one["lo"] is None else f"[{one['lo']:.3g} {one['hi']:.3g}]"
    return {
        "number": one["metric"],
        "A": one["old"],
        "B": one["new"],
        "change": one["change"],
        "interval": bounds,
        "n": one["n"],
    }
