"""What Prefect's pages and automations are told of a run: round table, yield funnel, live progress, events. Never a record.

Events: `ratoon.round.finished` with the round's numbers, `ratoon.audit.finished` with its warnings, `ratoon.budget.spent` with
the message that names the limit, and `ratoon.gate.refused` with the reason, the value and what mends it. Their resource is
`ratoon.run.<run_id>`, so that an automation can act on one run or on all.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event

from ratoon.errors import BudgetSpent, Refused
from ratoon.pipelines.audit.after_run import Page
from ratoon.pipelines.runtime.stage import shard_of
from ratoon.pipelines.training.gate import outcomes
from ratoon.pipelines.views.summary import rounds
from ratoon.store.store import Manifest, Store

EVERY_S = 5.0


class Live:
    """How far the shards of one harvest are, on the flow's page; told at most every few seconds, since telling takes time."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._artifact: Any = None
        self._told = time.monotonic()

    def advance(self) -> None:
        """One more shard is there. A server that does not take it stops nothing."""
        self._done += 1
        now, last = time.monotonic(), self._done == self._total
        if now - self._told < EVERY_S and not (last and self._artifact is not None):
            return
        self._told = now
        share = 100.0 * self._done / self._total
        with suppress(Exception):
            if self._artifact is None:
                self._artifact = create_progress_artifact(share, key="ratoon-progress", description=self._label)
            else:
                update_progress_artifact(self._artifact, share)


def round_finished(store: Store, iteration: int) -> None:
    """The rounds so far as a table, this round's funnel, and the event."""
    where = f"{store.root.name}, after round {iteration}"
    flat = _rounds(store, where)
    create_markdown_artifact(funnel_text(store, iteration), key="ratoon-funnel", description=where)
    mine = next((row for row in flat if row["round"] == iteration), {})
    _emit("ratoon.round.finished", store, {"round": iteration} | mine)


def _rounds(store: Store, where: str) -> list[dict[str, Any]]:
    flat = [{k: v["value"] if isinstance(v, dict) else v for k, v in row.items()} for row in rounds(store)]
    create_table_artifact(table=flat, key="ratoon-rounds", description=where)
    return flat


def gate_refused(store: Store, error: Refused) -> None:
    """The rounds as a table whose `gate` says so, and the event, once for each reason that refused the newest round."""
    found = [row for row in outcomes(store) if row["outcome"] == "refused"]
    newest = max((row["iteration"] for row in found), default=None)
    _rounds(store, f"{store.root.name}, refused by the training gate")
    for row in found:
        if row["iteration"] == newest:
            told = {name: row[name] for name in ("reason", "value", "limit", "message", "hint")}
            _emit("ratoon.gate.refused", store, {"round": newest} | told)
    if not found:
        _emit("ratoon.gate.refused", store, {"message": error.message, "hint": error.hint})


def audited(store: Store, pages: list[Page]) -> None:
    """A link to each audit that the run ended with, and the event."""
    for page in pages:
        key, path = f"ratoon-{page.path.parent.name}", page.path.resolve()
        create_link_artifact(path.as_uri(), link_text=f"{page.title}: {page.told}", key=key, description=page.worst)
        _emit("ratoon.audit.finished", store, {"title": page.title, "page": str(path), "warnings": page.codes, **page.counts})


def budget_spent(store: Store, error: BudgetSpent) -> None:
    """The event that a limit ended the run."""
    _emit("ratoon.budget.spent", store, {"message": error.message, "hint": error.hint})


def _emit(event: str, store: Store, payload: dict[str, Any]) -> None:
    resource = {"prefect.resource.id": f"ratoon.run.{store.run_id}", "prefect.resource.name": store.root.name}
    emit_event(event, resource=resource, payload=payload)


def funnel(store: Store, iteration: int) -> list[tuple[str, int]]:
    """From tasks asked to rollouts kept: what was left after each step of a round, largest first by construction."""
    live = [m for m in store.live().values() if m.key.iteration == iteration]

    def of(stage: str, shard: str) -> list[Manifest]:
        return [m for m in live if m.key.stage == stage and shard_of(m, shard)]

    asked = [m for m in live if m.stage == "assign" and (m.shard or "").partition("+")[0] == "train"]
    rollouts = of("rollouts", "train")
    steps = [
        ("tasks asked", sum(m.counts.rows_out for m in asked)),
        ("rollouts planned", sum(m.counts.rows_planned for m in rollouts)),
        ("rollouts sampled", sum(m.counts.rows_out for m in rollouts)),
        ("passed their verifier", sum(int(m.extra.get("passed", 0)) for m in of("scores", "train"))),
    ]
    curated = [m for m in live if m.stage == "curate" and m.shard == "default"]
    return steps + _kept(store, curated)


def _kept(store: Store, curated: list[Manifest]) -> list[tuple[str, int]]:
    """What each filter left of the rollouts."""
    if not curated:
        return []
    decisions = store.read("decisions", curated, columns=["step", "filter", "keep"])
    found = decisions.group_by(["step", "filter"]).aggregate([("keep", "sum")]).sort_by("step").to_pylist()
    return [(f"kept by {row['filter']}", int(row["keep_sum"] or 0)) for row in found]


def funnel_text(store: Store, iteration: int) -> str:
    """The funnel as a Markdown table; each line's share is of the rollouts sampled."""
    steps = funnel(store, iteration)
    whole = next((n for name, n in steps if name == "rollouts sampled"), 0)
    lines = [f"| {name} | {n:,} | {_share(name, n, whole)} |" for name, n in steps]
    return "\n".join([f"### Round {iteration}", "", "| step | rows | of the sampled |", "|---|--:|--:|", *lines])


def _share(name: str, n: int, whole: int) -> str:
    return f"{n / whole:.0%}" if whole and not name.startswith(("tasks", "rollouts planned")) else ""
