"""`ratoon audit`: one page that says what is wrong first."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

import typer

from ratoon.cli import echo


def audit(
    subject: Annotated[
        Path, typer.Argument(metavar="RUN|DATASET|FILE", help="a run, a dataset folder, or a Parquet, JSONL, JSON or CSV file")
    ],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="OTHER", help="compare with it; a run alone: with its round before")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="the page; report.json and metrics.parquet lie beside it")
    ] = Path("audit/report.html"),
    prompt: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="a file's column of prompts; guessed if not said")
    ] = None,
    completion: Annotated[str | None, typer.Option(metavar="COLUMN", help="a file's column of replies")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=ROLE", help="what a column is, such as final=answer; repeatable"),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", metavar="FILE", help="an evaluation set no row may hold; repeatable")
    ] = None,
    iteration: Annotated[int | None, typer.Option(min=0, help="which round of a run; default the newest")] = None,
    sample: Annotated[int | None, typer.Option(min=2, help="rows embedded of each side")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a field of [audit]: limits.truncated=0.05")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print report.json instead of the warnings")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress line")] = False,
) -> None:
    """What is wrong with the data, worst first, with the rows and the SQL that show it; warnings are no failure."""
    from ratoon.pipelines.audit import audit as auditing
    from ratoon.pipelines.audit.columns import pairs

    sets = [*([] if sample is None else [f"sample={sample}"]), *(set_ or [])]
    if benchmark:
        sets.append(f"benchmarks={jsons.dumps(benchmark)}")
    asked = pairs(columns or []) | {k: v for k, v in (("prompt", prompt), ("completion", completion)) if v is not None}
    say = (lambda _: None) if quiet else (lambda line: echo.line(line, err=True))
    found = auditing.audit(
        subject, against, config=auditing.configured(subject, sets), columns=asked, iteration=iteration, say=say
    )
    written = auditing.write(found, out)
    if json:
        echo.json(found.report)
        return
    _told(found.report, [str(path) for path in written])


def _told(report: object, written: list[str]) -> None:
    from ratoon.metrics.report import TITLES

    assert isinstance(report, dict)
    subject = report["subject"]
    echo.line(f"{subject['name']}: {subject['rows']} rows, {len(report['warnings'])} warnings")
    for side in (subject, report["against"]):
        if side is not None and side["reading"]:
            echo.line(f"read {side['reading']}")
    for fact in report["sections"]["provenance"]:
        if fact["name"].endswith(": note") and subject["reading"]:
            echo.line(fact["value"])
    for warning in report["warnings"]:
        echo.line(f"{warning['severity']:4}  {warning['code']}: {warning['message']}")
        echo.line(f"      → {warning['action']}")
    for gap in report["not_computed"]:
        echo.line(f"not computed: {TITLES.get(gap['what'], gap['what'])}: {gap['why']} ({gap['mend']})")
    echo.line("wrote " + ", ".join(written))
