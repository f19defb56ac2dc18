"""`ratoon schedule`: parses and prints; the serving is `ratoon.pipelines.flows.schedule`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from ratoon.cli import echo
from ratoon.errors import UsageError


def schedule(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a TOML file, or the name of a shipped recipe")],
    cron: Annotated[str | None, typer.Option(help='when to fire: "minute hour day month weekday"')] = None,
    every: Annotated[str | None, typer.Option(help="how often to fire: 90s, 30m, 6h, 1d")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="the run's folder; default runs/<recipe name>")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds that each firing adds")] = 1,
    each: Annotated[str, typer.Option(help="continue: go on with the run; new: a dated run each time")] = "continue",
    overlap: Annotated[str, typer.Option(help="when the last firing still works: skip the new one, or queue it")] = "skip",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="pause the schedule that is served for this run")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="let it fire again")] = False,
) -> None:
    """Fire a recipe on a schedule, on the configured Prefect server or one started here; Ctrl-C stops it."""
    from ratoon.pipelines.flows import schedule as schedules
    from ratoon.pipelines.recipe.recipe import load

    if pause or resume:
        if pause and resume:
            raise UsageError("--pause and --resume exclude one another", "give one of them")
        root = run or Path("runs") / load(recipe, set_ or []).run.name
        echo.line(f"{schedules.pause(root, pause)}: {'paused' if pause else 'fires again'}")
        return
    plan = schedules.plan(
        recipe, run, cron=cron, every=every, rounds=rounds,
        each=cast(schedules.Each, _one_of("--each", each, "continue", "new")),
        overlap=cast(schedules.Overlap, _one_of("--overlap", overlap, "skip", "queue")), sets=set_ or [],
    )  # fmt: skip
    schedules.serve(plan, lambda line: echo.line(line))
    echo.line(f"stopped; `ratoon status {plan.root}` shows what was fired")


def _one_of(flag: str, given: str, *known: str) -> str:
    if given not in known:
        raise UsageError(f"{flag} {given!r} is unknown", f"one of {', '.join(known)}")
    return given
