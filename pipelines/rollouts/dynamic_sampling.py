"""Dynamic sampling (DAPO, 2503.14476): an nft round asks further tasks until enough of its groups teach; bounded, and told.

A group all right or all wrong has no gradient under NFT. How many will be mixed is not known before they are sampled, so a
round that wants a batch of so many asks again: other tasks, the same policy, as many as the share so far says are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import ceil

import pyarrow as pa

from ratoon.pipelines.rollouts import first_wave, score
from ratoon.pipelines.rollouts.first_wave import Prefer
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.store.store import Manifest


def asker(
    prefer: Prefer, mixed_groups: int | None, target_accepted: int | None
) -> Callable[[Context, RoundSoFar], Manifest | None]:
    """Asks other tasks until so many groups are mixed and so many rollouts accepted; a null aim is none.

    It stops short of an aim, and says so, when waves or tasks are used up.
    """

    def ask(ctx: Context, held: RoundSoFar) -> Manifest | None:
        lacking = [0]
        if mixed_groups is not None:
            mixed = score.mixed(score.groups_so_far(ctx, held))
            lacking.append(_lacking(ctx, held, mixed_groups, "mixed groups", mixed))
        if target_accepted is not None:
            accepted = sum(int(m.extra["passed"]) for m in held.scores)
            lacking.append(_lacking(ctx, held, target_accepted, "accepted rollouts", accepted))
        if not max(lacking):
            return None
        weights = _weights(ctx, held) if target_accepted is not None else None
        return first_wave.wave(ctx, held, prefer, max(lacking), weights)

    return ask


def _lacking(ctx: Context, held: RoundSoFar, aim: int, what: str, have: int) -> int:
    """How many further tasks bring `have` up to `aim` at the share so far; 0 when it is there, or cannot be reached (told)."""
    generate = ctx.recipe.generate
    if have >= aim:
        return 0
    done, left = sum(m.counts.rows_out for m in held.asked), first_wave.tasks_left(ctx, held)
    if len(held.asked) >= generate.max_waves or not left:
        why = f"generate.max_waves = {generate.max_waves}" if left else "every training task was asked"
        ctx.progress.say_once(f"round {held.iteration}: {have} of {aim} {what} after {done} tasks ({why})")
        return 0
    return min(left, generate.tasks, ceil((aim - have) * done / max(have, 1)))


def _weights(ctx: Context, held: RoundSoFar) -> dict[str, float]:
    """The weights of a further wave's families under `target_accepted`: the recipe's, times their share of passes so far.

    A family that passed nothing keeps a quarter of the best one's share, since it may have been asked too little to tell.
    """
    rates, weights = _pass_rates(ctx, held), ctx.recipe.generate.weights
    best = max(rates.values(), default=1.0)
    families = set(ctx.store.read("tasks", held.pool, columns=["family"])["family"].to_pylist())
    return {f: round(weights.get(f, 1.0) * max(rates.get(f, best), best / 4), 6) for f in sorted(families)}


def _pass_rates(ctx: Context, held: RoundSoFar) -> dict[str, float]:
    """`(passed + 1) / (judged + 2)` of each family (Laplace's rule)."""
    family = _pairs(ctx.store.read("tasks", held.pool, ["task_id", "family"]))
    task = _pairs(ctx.store.read("rollouts", held.rollouts, ["rollout_id", "task_id"]))
    passed, judged = Counter[str](), Counter[str]()
    for row in ctx.store.read("scores", held.scores, ["subject_kind", "subject_id", "status"]).to_pylist():
        if row["subject_kind"] == "rollout" and row["status"] in ("pass", "fail"):
            of = family[task[row["subject_id"]]]
            judged[of] += 1
            passed[of] += row["status"] == "pass"
    return {f: (passed[f] + 1) / (judged[f] + 2) for f in judged}


def _pairs(table: pa.Table) -> dict[str, str]:
    """Two columns as a dict."""
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
