"""One firing of a schedule: go on with the run by some rounds, or start a dated one; every firing leaves a line in the run.

Knows no Prefect and no clock of a schedule: who calls `fire` decides when. A run that is being written already is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ratoon.errors import RatoonError, RunLocked, Stopped
from ratoon.pipelines.recipe.recipe import load
from ratoon.store.store import Store

Each = Literal["continue", "new"]
Outcome = Literal["done", "stopped", "skipped", "failed"]
LOG = Path("logs") / "firings.jsonl"


@dataclass(frozen=True)
class Firing:
    """One firing's outcome: `rounds` is how many rounds the run has after it."""

    fired_at: str
    ended_at: str
    run: str
    outcome: Outcome
    rounds: int
    message: str = ""


def fire(recipe: str, root: Path, rounds: int, sets: Sequence[str], each: Each, now: datetime) -> Firing:
    """Run `rounds` more rounds of `recipe` in `root` (or in `root-<date>`), and write down how it ended.

    A round that an earlier firing left unfinished counts as one of them. Raises what the run raises, after noting it; a run
    that another process writes is `skipped`, one that a budget, gate or rule ended is `stopped`: neither raises.
    """
    folder = folder_of(root, each, now)
    fired = now.astimezone(UTC).isoformat(timespec="seconds")

    def note(outcome: Outcome, message: str = "") -> Firing:
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        made = Firing(fired, ended, str(folder), outcome, finished_rounds(folder), message)
        _append(folder, made)
        return made

    try:
        _go_on(recipe, folder, rounds, sets)
    except RunLocked as error:
        return note("skipped", error.message)
    except Stopped as error:
        return note("stopped", error.message)
    except RatoonError as error:
        note("failed", error.message)
        raise
    except BaseException as error:
        note("failed", type(error).__name__)
        raise
    return note("done")


def _go_on(recipe: str, folder: Path, rounds: int, sets: Sequence[str]) -> None:
    from ratoon.pipelines.flows.runner import improve

    wanted = finished_rounds(folder) + rounds
    improve(folder, load(recipe, [*sets, f"run.iterations={wanted}"]), quiet=True)


def folder_of(root: Path, each: Each, now: datetime) -> Path:
    """The run's folder for a firing at `now`: always `root`, or `root-YYYYMMDD-HHMMSS` in UTC."""
    if each == "continue":
        return root
    return root.with_name(f"{root.name}-{now.astimezone(UTC):%Y%m%d-%H%M%S}")


def finished_rounds(root: Path) -> int:
    """How many rounds of a run ended with their evaluation; 0 where there is no run yet."""
    if not (root / "run.json").exists():
        return 0
    return max((m.iteration or 0 for m in Store.open(root).find("evals")), default=0)


def firings(root: Path) -> list[dict[str, Any]]:
    """Every firing of a run, oldest first."""
    path = root / LOG
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _append(folder: Path, made: Firing) -> None:
    path = folder / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(made)) + "\n")
