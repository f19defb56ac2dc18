"""Asking in waves: tasks whose vote is certain are asked no further, and what that saves goes to tasks still undecided.

A wave is one more artifact of assignments; sample numbers go on. Every decision is made from committed rollouts and readings
in group order, so a run that is killed plans the same waves again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply, schema
from ratoon.config import semantic
from ratoon.metrics.voting.consensus import ConsensusConfig, ballots
from ratoon.metrics.voting.extracted_answers import READING
from ratoon.metrics.voting.plurality import Bools, Ints, Votes
from ratoon.metrics.voting.sequential_test import curtail, settled
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest

EXTENDED = "extended"
_ROLLOUTS = ["rollout_id", "group_id", "prompt_id", "sample", "finish_reason"]


def replies_at_first(recipe: Recipe) -> int:
    """Replies asked of a task without a verifier in the first wave."""
    consensus, n = recipe.consensus, recipe.generate.n
    return n if consensus is None or not consensus.wave else min(consensus.wave, n)


def most_replies(recipe: Recipe) -> int:
    """The most replies that one task may be asked for in a round."""
    again = recipe.consensus is not None and recipe.consensus.wave > 0 and recipe.consensus.reuse
    return recipe.generate.n * (2 if again else 1)


def asker(config: ConsensusConfig) -> Callable[[Context, RoundSoFar], Manifest | None]:
    """Asks tasks whose vote is open again, until every vote is certain or everything planned is spent."""

    def ask(ctx: Context, held: RoundSoFar) -> Manifest | None:
        n = ctx.recipe.generate.n
        options = {"consensus": semantic(config), "n": n}
        inputs = [*held.asked, *held.rollouts, *held.scores]
        artifact_key = key("assign", held.iteration, held.next_wave, config=options, inputs=inputs)
        if (assigned := ctx.store.get(artifact_key.artifact_id)) is not None:
            return assigned
        built = _plan(ctx, config, n, held)
        return run_stage(ctx.store, artifact_key, lambda: built) if built.counts.rows_out else None

    return ask


def stop_rules(config: ConsensusConfig, n: int, planned: dict[str, int]) -> dict[str, str]:
    """Why a group was asked for fewer or more replies than `n`, by group id; groups asked for `n` have no rule."""
    if not config.wave:
        return {}
    return {group: config.stop if asked < n else EXTENDED for group, asked in planned.items() if asked != n}


class _Race(NamedTuple):
    """One entry per group that votes: its first assignment row, replies asked for so far, and how its vote stands."""

    rows: pa.Table
    asked: Ints
    votes: Votes
    done: Bools
    accepted: Bools


def _plan(ctx: Context, config: ConsensusConfig, n: int, held: RoundSoFar) -> Built:
    race = _stand(ctx, config, n, held)
    left = np.maximum(n - race.asked, 0)
    next_n = np.where(race.done, 0, np.minimum(config.wave, left))
    if not next_n.any() and config.reuse:
        next_n = _extended(race, n, config.wave)
    take = np.flatnonzero(next_n)
    rows = race.rows.take(pa.array(take))
    columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
    columns |= {"n_planned": next_n[take], "first_sample": race.asked[take]}
    table = schema.from_columns("assignments", columns, len(take)).sort_by("task_id")
    return Built({"assignments": table}, Counts(len(take), len(take)))


def _stand(ctx: Context, config: ConsensusConfig, n: int, held: RoundSoFar) -> _Race:
    read = ctx.store.read("scores", held.scores, columns=["subject_id", "scorer", "version", "status", "answer", "detail"])
    read = read.filter(pc.equal(read["scorer"], READING))
    symbolic = config.equivalence == "symbolic"
    rows = ctx.store.read("rollouts", held.rollouts, columns=[*_ROLLOUTS, *(reply.COLUMNS if symbolic else ())])
    rows = reply.answered(rows) if symbolic else rows
    rows = rows.filter(pc.is_in(rows["rollout_id"], value_set=read["subject_id"].combine_chunks()))
    votes = ballots(rows, read, config, ctx.same())
    plan = ctx.store.read("assignments", held.asked)
    prompts = votes.rows["prompt_id"].combine_chunks().take(pa.array(np.unique(votes.group, return_index=True)[1]))
    sums = plan.group_by("prompt_id").aggregate([("n_planned", "sum")])
    planned = sums["n_planned_sum"].combine_chunks().take(pc.index_in(prompts, value_set=sums["prompt_id"].combine_chunks()))
    n_asked = planned.to_numpy(zero_copy_only=False).astype(np.int64)
    certain = curtail(votes.votes, np.maximum(n - n_asked, 0), config)
    done = ~certain.undecided
    if config.stop == "anytime":
        done |= settled(votes.group, votes.choice, votes.rows["sample"].to_numpy().astype(np.int64), votes.votes, config)
    one_each = plan.filter(pc.equal(plan["first_sample"], 0))
    at = pc.index_in(prompts, value_set=one_each["prompt_id"].combine_chunks())
    return _Race(one_each.take(at), n_asked, votes.votes, done, done & ~certain.reject)


def _extended(race: _Race, n: int, wave: int) -> Ints:
    """Give the replies that early stops saved, in waves, to tasks with answers but no label.

    All such tasks get alike where that is enough; else those nearest to a label come first.
    """
    out = np.zeros(len(race.asked), np.int64)
    if (race.asked > n).any():
        return out  # once
    budget = int(np.maximum(n - race.asked, 0).sum()) // wave
    wanting = np.flatnonzero(~race.accepted & (race.asked >= n) & (race.votes.voters > 0))
    if not budget or not len(wanting):
        return out
    order = wanting[np.lexsort((np.array(race.rows["task_id"].to_pylist())[wanting], -race.votes.share[wanting]))]
    each, rest = divmod(budget, len(order))
    out[order] = np.minimum(each * wave, n)
    if each * wave < n:
        out[order[:rest]] += np.minimum(wave, n - out[order[:rest]])
    return out
