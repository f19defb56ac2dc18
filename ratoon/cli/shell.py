"""The SQL shell of `ratoon sql RUN`: one query a line, the answer as a table; an error does not end it."""

from __future__ import annotations

import atexit
import contextlib
from pathlib import Path

from ratoon.cli import echo
from ratoon.cli.rows_file import RowsFile
from ratoon.errors import RatoonError
from ratoon.run import Run


def shell(run: Run | RowsFile) -> None:
    """Read queries until end of input. A query ends with `;` or an empty line; `.tables` lists the tables."""
    _remember()
    echo.line("one SELECT, ended by ; or an empty line; .tables lists tables; Ctrl-D leaves")
    while True:
        try:
            query = _read()
        except (EOFError, KeyboardInterrupt):
            echo.line("")
            return
        if query:
            _answer(run, query)


def _read() -> str:
    lines = [input("sql> ").strip()]
    while lines[-1] and not lines[-1].endswith(";") and lines[0] != ".tables":
        lines.append(input("...> ").strip())
    return " ".join(lines).strip()


def _answer(run: Run | RowsFile, query: str) -> None:
    if query.rstrip(";") == ".tables":
        query = "select view_name as name, column_count as columns from duckdb_views() where not internal order by name"
    try:
        echo.line(str(run.render(query)))
    except RatoonError as error:
        echo.error(error)


def _remember() -> None:
    """Line editing and history, where the interpreter has readline."""
    try:
        import readline
    except ImportError:
        return
    path = Path.home() / ".ratoon_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    atexit.register(_save, str(path))


def _save(path: str) -> None:
    import readline

    with contextlib.suppress(OSError):
        readline.write_history_file(path)
