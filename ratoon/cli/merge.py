"""`ratoon merge`: a LoRA adapter and its base as one model folder, which every engine serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratoon.cli import echo
from ratoon.errors import UsageError


def merge(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="a folder with adapter_config.json")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where the model goes; must not exist")],
    base: Annotated[
        str | None,
        typer.Option(help="the model it stands on: a folder, a hub id or `packaged`; default what the adapter names"),
    ] = None,
) -> None:
    """Merge an adapter into the model it was trained on."""
    from ratoon.pipelines.flows.standalone import merge as standalone

    if out.exists():
        raise UsageError(f"{out} exists already", "give another --out, or remove it")
    standalone(adapter, out, base=base)
    echo.line(f"{out}: the whole model")
