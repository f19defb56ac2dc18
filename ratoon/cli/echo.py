"""The one place where the command line writes: nothing a stranger wrote reaches a terminal but as text; knows no command.

Lines for a person are always cleaned. Data for programs (JSON, CSV) is left as it is where it goes to a file or a pipe; on a
terminal JSON keeps its meaning (what is dangerous becomes an escape of JSON's own), CSV loses it, Parquet is refused.
"""

from __future__ import annotations

import json as jsons
import sys
from typing import Any

import typer

from ratoon.errors import RatoonError, UsageError
from ratoon.surrogates import without_surrogates
from ratoon.terminal import escaped, plain


def line(text: str, *, err: bool = False) -> None:
    """Lines for a person."""
    typer.echo(plain(text), err=err)


def error(error: RatoonError) -> None:
    """What happened and what mends it, on stderr."""
    line(f"error: {error.message}", err=True)
    if error.hint:
        line(f"  → {error.hint}", err=True)


def json(value: Any) -> None:
    """A value as JSON; what JSON has not is text."""
    text = jsons.dumps(value, indent=2, default=str, ensure_ascii=False)
    typer.echo(escaped(text) if sys.stdout.isatty() else without_surrogates(text)[0])


def data(made: str | bytes, form: str) -> None:
    """A query's result as `ratoon.render_table` made it. Raises UsageError where bytes would go to a terminal."""
    terminal = sys.stdout.isatty()
    if isinstance(made, bytes):
        if terminal:
            raise UsageError(f"{form} is no text: a terminal cannot show it", "send it to a file: … > rows.parquet")
        sys.stdout.buffer.write(made)
        return
    text = made if not terminal else escaped(made) if form == "json" else plain(made)
    sys.stdout.buffer.write(text.encode())
