"""The flow that a schedule or a worker fires. Its parameters are what Prefect's pages show and let one change.

Annotations are objects here, not text: Prefect makes the form of its pages from them.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed

from ratoon.pipelines.flows.firings import fire


@flow(name="ratoon", flow_run_name="{run}", persist_result=False)
def ratoon(
    recipe: str, run: str, rounds: int = 1, each: Literal["continue", "new"] = "continue", sets: list[str] | None = None
) -> Any:
    """Rounds of generate, verify, curate, fine-tune and evaluate.

    Args:
        recipe: a TOML file on the machine that runs this, or the name of a recipe that ships with ratoon
        run: the run's folder
        rounds: how many rounds to add; one that was left unfinished is finished first and counts
        each: `continue` goes on with the run, `new` starts one in a dated folder beside it
        sets: fields of the recipe to change, each KEY=VALUE
    """
    made = fire(recipe, Path(run), rounds, sets or [], each, _planned_for())
    if made.outcome == "skipped":
        return Cancelled(name="Skipped", message=made.message)
    name = "Stopped" if made.outcome == "stopped" else "Completed"
    return Completed(name=name, message=made.message or f"{made.run} has {made.rounds} rounds")


def _planned_for() -> datetime:
    """When this firing was due, which names a dated run; the same when it is retried."""
    context = FlowRunContext.get()
    due = context.flow_run.expected_start_time if context is not None and context.flow_run is not None else None
    return due or datetime.now().astimezone()
