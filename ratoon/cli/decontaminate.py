"""`ratoon decontaminate`: a data set against benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratoon.cli import echo

if TYPE_CHECKING:
    from ratoon.metrics.text.contamination import ContaminationConfig
    from ratoon.pipelines.contamination.decontaminate import Report


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
    boilerplate: Annotated[
        Path | None, typer.Option("--boilerplate", metavar="FILE", help="phrases that tell nothing, one a line, beside ours")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the split to read; all of them if not said")] = None,
    coverage: Annotated[float, typer.Option(min=0.25, max=1, help="share of an item's words from which a row counts")] = 0.5,
    review: Annotated[bool, typer.Option("--review", help="list rows near a question by embeddings; they are kept")] = False,
    near: Annotated[float, typer.Option(min=0, max=1, help="cosine from which --review lists a row")] = 0.9,
    n: Annotated[int, typer.Option("-n", min=0, help="matches shown")] = 5,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Which rows hold an item of a benchmark: whole text, any 13 words in a row, half of its words in runs of 8."""
    from ratoon.pipelines.contamination.decontaminate import decontaminate as compare

    found = compare(dataset, against or [], index=index, freeze=freeze, out=out, coverage=coverage, split=split,
                    config=_config(boilerplate), review=near if review else None)  # fmt: skip
    if json:
        echo.json(found._asdict())
        return
    _print(found, n, near)


def _config(boilerplate: Path | None) -> ContaminationConfig | None:
    from ratoon.errors import UsageError
    from ratoon.metrics.text.contamination import ContaminationConfig

    if boilerplate is None:
        return None
    try:
        lines = boilerplate.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--boilerplate {boilerplate} cannot be read: {error}", "give a text file, a phrase a line") from None
    return ContaminationConfig(boilerplate=tuple(line.strip() for line in lines if line.strip()))


def _print(found: Report, n: int, near: float) -> None:
    from ratoon.cli.print import print_records, print_rows

    echo.line(f"read {found.reading}")
    for line in found.read_benchmarks or ():
        echo.line(f"against {line}")
    for line in _untold(found):
        echo.line(line)
    tiers = ", ".join(f"{tier} {count}" for tier, count in found.tiers.items())
    echo.line(f"{found.contaminated} of {found.rows} rows hold an item ({tiers}); index {found.digest}")
    print_rows(found.benchmarks, title="benchmarks")
    if found.matches and n:
        print_records("matches", found.matches[:n])
    if found.review is not None:
        echo.line(f"{len(found.review)} more rows are near a question (cosine {near:g} and above): look at them; they are kept")
        print_records("for review", found.review[:n])
    if found.clean:
        echo.line(f"clean rows and all matches: {found.clean}")


def _untold(found: Report) -> list[str]:
    """What was not compared, a line each."""
    lines = []
    if found.not_compared:
        lines.append(f"columns not compared, since they hold no text: {', '.join(found.not_compared)}")
    if found.without_text:
        lines.append(f"{found.without_text} rows hold no text to compare")
    short = found.too_short or {}
    if short.get("questions"):
        lines.append(f"{short['questions']} questions under 8 words are found only where a whole turn or text is equal")
    if short.get("answers"):
        lines.append(f"{short['answers']} answers are too short to be looked for")
    return lines
