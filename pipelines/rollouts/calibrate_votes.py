"""How far a round's votes could be believed, held against the hidden truth: rows of table `measures`, and the collapse warning.

Only here do oracles meet rollouts, and nothing of it reaches a filter: what is measured changes no label. Tasks without an
oracle, as a model writes them, are not measured, and the counts say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, reply, schema
from ratoon.metrics.stats.calibration import collapse
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifiers.pool import Item
from ratoon.metrics.voting.answer_collapse import METRIC, balance, taken_over
from ratoon.metrics.voting.consensus import SCORER, ConsensusConfig
from ratoon.metrics.voting.vote_accuracy import Label, measures, trend
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest

VERSION = "1"


def calibrate(ctx: Context, crop: Crop) -> Manifest | None:
    """The measures of one round's votes; None where nothing voted. Warns of collapse."""
    config = ctx.recipe.consensus
    if config is None:
        return None
    options: dict[str, Any] = {"reader": [config.reader, config.reader_args], "seed": ctx.recipe.run.seed}
    options |= {"balance": True} if config.most_alike is not None else {}
    artifact_key = key("calibrate", crop.iteration, config=options, inputs=[*crop.pool, *crop.rollouts, crop.groups])
    manifest = run_stage(ctx.store, artifact_key, lambda: _measure(ctx, crop, config))
    rows = ctx.store.read("measures", ctx.store.find("calibrate")).to_pylist()
    so_far = trend([row for row in rows if row["iteration"] <= crop.iteration])
    _warn_of_one_answer(ctx, crop.iteration, rows, config)
    warn_of_collapse(ctx.progress, crop.iteration, *so_far)
    return manifest


def _measure(ctx: Context, crop: Crop, config: ConsensusConfig) -> Built:
    labels = _labels(ctx, crop, config)
    seed = ids.derive_seed(ctx.recipe.run.seed, "calibrate", crop.iteration) % 2**32
    fixed = {
        "scope_kind": "iteration", "scope_id": str(crop.iteration), "iteration": crop.iteration, "version": VERSION,
        "seed": seed,
    }  # fmt: skip
    rows = [fixed | row for row in measures(labels, seed=seed)]
    if config.most_alike is not None:
        groups = ctx.store.read("groups", [crop.groups], ["vote", "vote_status", "label_source"])
        balances = balance(groups.filter(pc.equal(groups["label_source"], SCORER)))
        rows += [] if balances is None else [fixed | balances]
    return Built({"measures": schema.from_rows("measures", rows)}, Counts(len(rows), len(rows)))


def _warn_of_one_answer(ctx: Context, iteration: int, rows: Sequence[dict[str, Any]], config: ConsensusConfig) -> None:
    if config.most_alike is None:
        return
    shares = [row for row in rows if row["metric"] == METRIC and row["iteration"] == iteration]
    for sentence in filter(None, (taken_over(row, config.most_alike) for row in shares)):
        ctx.progress.say(f"warning: round {iteration}: {sentence}")


def _labels(ctx: Context, crop: Crop, config: ConsensusConfig) -> list[Label]:
    """The oracle's word on each rollout, and so on the vote, for each group that voted on a task of known truth."""
    groups = ctx.store.read("groups", [crop.groups])
    groups = groups.filter(pc.equal(groups["label_source"], SCORER))
    oracles = dict(zip(*(c.to_pylist() for c in ctx.store.read("oracles", crop.pool).columns), strict=True))
    keys = _problem_keys(ctx, crop)
    scores = ctx.store.read("scores", [crop.groups], columns=["subject_id", "status", "answer"])
    verdicts = {id: (status, answer) for id, status, answer in zip(*(c.to_pylist() for c in scores.columns), strict=True)}
    truth = _truth(ctx, crop, config, oracles)
    return [
        Label(
            keys[row["task_id"]] or row["task_id"], row["vote"], row["vote_share"], row["vote_status"] == "accepted",
            tuple((*verdicts[id], right) for id, right in truth.get(row["group_id"], ())),
        )
        for row in groups.to_pylist() if row["task_id"] in oracles
    ]  # fmt: skip


def _problem_keys(ctx: Context, crop: Crop) -> dict[str, str | None]:
    tasks = ctx.store.read("tasks", crop.pool, columns=["task_id", "problem_key"])
    return dict(zip(*(c.to_pylist() for c in tasks.columns), strict=True))


def _truth(
    ctx: Context, crop: Crop, config: ConsensusConfig, oracles: dict[str, str]
) -> dict[str, list[tuple[str, bool | None]]]:
    """Each group's rollouts in id order with the oracle's verdict; None where nobody can judge."""
    columns = ["rollout_id", "group_id", "task_id", *reply.COLUMNS, "finish_reason"]
    rows = reply.answered(ctx.store.read("rollouts", crop.rollouts, columns=columns))
    rows = rows.filter(pc.is_in(rows["task_id"], value_set=pa.array(sorted(oracles), pa.string()))).sort_by("rollout_id")
    rows = rows.filter(pc.is_in(rows["group_id"], value_set=_voting(ctx, crop)))
    listed = rows.to_pylist()
    items = [Item(config.reader, row["text"] or "", oracles[row["task_id"]], config.reader_args) for row in listed]
    by_group: dict[str, list[tuple[str, bool | None]]] = {}
    for row, verdict in zip(listed, ctx.pool().run(items) if items else [], strict=True):
        judged = {"pass": row["finish_reason"] != "length", "fail": False}.get(verdict.status)
        right = judged if row["text"] is not None else None
        by_group.setdefault(row["group_id"], []).append((row["rollout_id"], right))
    return by_group


def _voting(ctx: Context, crop: Crop) -> pa.Array:
    groups = ctx.store.read("groups", [crop.groups], columns=["group_id", "label_source"])
    return groups.filter(pc.equal(groups["label_source"], SCORER))["group_id"].combine_chunks()


class Says(Protocol):
    """What a warning is told to."""

    def say(self, text: str) -> None: ...


def warn_of_collapse(to: Says, iteration: int, agreement: Sequence[Estimate], accuracy: Sequence[Estimate]) -> None:
    """Tell of agreement that rises without accuracy (`calibration.collapse`); what refuses to train on it is the gate."""
    verdict = collapse(agreement, accuracy)
    if verdict is None:
        return
    first, last = (f"{agreement[i].value:.2f}" for i in (0, -1))
    to.say(
        f"warning: round {iteration}: agreement rose from {first} to {last} while the accuracy of votes is {verdict}, "
        f"{accuracy[0].value:.2f} to {accuracy[-1].value:.2f}: the model may be collapsing onto its own answers"
    )
