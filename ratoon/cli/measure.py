"""`ratoon measure`: what a run's rounds and datasets are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratoon.cli import echo


def measure(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Quality, diversity and complexity of every round and dataset, into table `measures`; no model of yours is asked.

    What was measured alike before is found, not measured again. `--set measure.tier=medium` embeds a sample.
    """
    from ratoon.cli.print import print_measures
    from ratoon.run import Run

    found = Run(run).measure(sets=set_ or [])
    if json:
        echo.json(found)
    else:
        print_measures(found)
