"""`ratoon decontaminate`: a data set against benchmarks."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

import typer


def decontaminate(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="JSONL, Parquet, CSV or text; a folder; a Hugging Face id")],
    against: Annotated[
        list[str] | None, typer.Option("--against", metavar="BENCHMARK", help="the same kinds; repeatable")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="write clean rows and matches; must not exist")
    ] = None,
    index: Annotated[Path | None, typer.Option("--index", metavar="FILE", help="a frozen index to compare with")] = None,
    freeze: Annotated[
        Path | None, typer.Option("--freeze", metavar="FILE", help="keep the benchmarks' index in a new file")
    ] = None,
    coverage: Annotated[float, typer.Option(min=0.25, max=1, help="share of an item's words from which a row counts")] = 0.5,
    review: Annotated[bool, typer.Option("--review", help="list rows near a question by embeddings; they are kept")] = False,
    near: Annotated[float, typer.Option(min=0, max=1, help="cosine from which --review lists a row")] = 0.9,
    n: Annotated[int, typer.Option("-n", min=0, help="matches shown")] = 5,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Which rows hold an item of a benchmark: whole text, any 13 words in a row, half of its words in runs of 8."""
    from ratoon.pipelines.contamination.decontaminate import decontaminate as compare

    found = compare(dataset, against or [], index=index, freeze=freeze, out=out, coverage=coverage,
                    review=near if review else None)  # fmt: skip
    if json:
        typer.echo(jsons.dumps(found._asdict(), indent=2, ensure_ascii=False))
        return
    from ratoon.cli.print import print_records, print_rows

    tiers = ", ".join(f"{tier} {count}" for tier, count in found.tiers.items())
    typer.echo(f"{found.contaminated} of {found.rows} rows hold an item ({tiers}); index {found.digest}")
    print_rows(found.benchmarks, title="benchmarks")
    if found.matches and n:
        print_records("matches", found.matches[:n])
    if found.review is not None:
        typer.echo(
            f"{len(found.review)} more rows are near a question (cosine {near:g} and above): look at them; they are kept"
        )
        print_records("for review", found.review[:n])
    if found.unreadable:
        typer.echo(f"{len(found.unreadable)} rows could not be read, the first {found.unreadable[0]}")
    if found.clean:
        typer.echo(f"clean rows and all matches: {found.clean}")
