"""`ratoon sql`: one SELECT over a run, or over rows of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratoon.cli import echo

if TYPE_CHECKING:
    from ratoon.cli.rows_file import RowsFile
    from ratoon.run import Run


def sql(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|FILE… [QUERY]",
            help="a run's folder, or files and folders of rows (one: table `rows`; several: a table each, called as its "
            "file is); then one SELECT; without it, a shell",
        ),
    ],
    format: Annotated[str, typer.Option(help="table, json, csv or parquet")] = "table",
    csv_safe: Annotated[
        bool, typer.Option("--csv-safe", help="csv for a spreadsheet: cells that one would run begin with '")
    ] = False,
) -> None:
    """Query everything that ever happened in a run (tables are live, `all_*` the history), or the rows of files of any kind."""
    from ratoon.errors import UsageError

    if csv_safe and format not in ("table", "csv"):
        raise UsageError(f"--csv-safe is of csv, not of {format}", "leave --csv-safe or --format out")
    form = "csv-safe" if csv_safe else format
    query = names.pop() if _is_query(names[-1]) else None
    if not names:
        raise UsageError("there is a query and nothing to ask", "ratoon sql RUN|FILE 'select …'")
    opened = _opened(names)
    if query is None:
        from ratoon.cli.shell import shell

        shell(opened)
        return
    echo.data(opened.render(query, form), form)


def _is_query(word: str) -> bool:
    """A query is several words that name nothing."""
    return len(word.split()) > 1 and not Path(word).exists()


def _opened(names: list[str]) -> Run | RowsFile:
    from ratoon.cli.rows_file import RowsFile
    from ratoon.errors import UsageError
    from ratoon.run import Run

    runs = [name for name in names if not _is_rows(Path(name))]
    if runs and len(names) > 1:
        raise UsageError(f"{runs[0]} holds no rows, or is a run, which is asked by itself", "give one run, or files")
    if runs:
        return Run(runs[0])
    files = RowsFile(*names)
    for name, reading in files.readings.items():
        echo.line(f"{name}: {reading.line()}", err=True)
    return files


def _is_rows(path: Path) -> bool:
    """Whether it is or would be a file, or a folder that is no run and holds a file that is read."""
    from ratoon.rows.source import kind_of

    if (path / "run.json").exists():
        return False
    return any(kind_of(file) for file in path.rglob("*")) if path.is_dir() else path.is_file() or kind_of(path) is not None
