"""`ratoon verify` and `ratoon repair`: what is wrong with a run's folder, and what lies in it that nothing needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratoon.cli import echo

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder, for example runs/demo")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


def verify(run: RunDir, json: Json = False) -> None:
    """Re-read every part, dataset and policy of a run against its digests."""
    from ratoon.errors import CorruptPart
    from ratoon.run import Run

    problems = Run(run).verify()
    if json:
        echo.json(problems)
    elif not problems:
        echo.line("every part is what its manifest says")
    if problems:
        raise CorruptPart(
            "\n".join(problems),
            f"restore those files under {run} from a copy of the run; without one, run the recipe in a new folder",
        )


def repair(
    run: RunDir,
    yes: Annotated[bool, typer.Option("--yes", help="remove what is listed; without it, nothing is touched")] = False,
    json: Json = False,
) -> None:
    """List what no commit names (what kills left behind), and remove it with --yes. Nothing that counts is touched.

    Where commits are lost from the end of the log, --yes adds back the artifacts that are whole.
    """
    from ratoon.pipelines.views import integrity as repairs
    from ratoon.store import lost
    from ratoon.store.store import Store

    store = Store.open(run)
    short = store.lost()
    added = lost.add_back(run) if yes and short else repairs.whole_but_unnamed(store) if short else []
    names = repairs.strays(store)
    bytes = repairs.size(run, names)
    if yes:
        names = repairs.sweep(run)
    if json:
        echo.json({"strays": names, "bytes": bytes, "removed": yes, "whole": added})
        return
    if short:
        then = "are added back" if yes else f"come back by: ratoon repair {run} --yes"
        echo.line(f"{short}; {len(added)} whole artifacts {then}")
    echo.line("\n".join(names) or "nothing lies about: every file is named by a commit")
    if names:
        done = "removed" if yes else f"to remove them: ratoon repair {run} --yes"
        echo.line(f"{len(names)} files and folders, {bytes:,} bytes; {done}")
