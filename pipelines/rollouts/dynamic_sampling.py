"""Dynamic sampling (DAPO, 2503.14476): an nft round asks further tasks until enough of its groups teach; bounded, and told.

A group all right or all wrong has no gradient under NFT. How many will be mixed is not known before they are sampled, so a
round that wants a batch of so many asks again: other tasks, the same policy, as many as the share so far says are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

import pyarrow as pa

from ratoon.pipelines.rollouts import assign, score
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Manifests, several, with_descendants
from ratoon.store.store import Manifest


def more(
    ctx: Context, pool: Manifests, asked: Sequence[Manifest], rollouts: Sequence[Manifest], scores: Sequence[Manifest]
) -> int:
    """How many further tasks the round asks: 0 when enough groups are mixed, or when waves or tasks are used up (told)."""
    generate, iteration = ctx.recipe.generate, asked[0].iteration or 0
    mixed = generate.mixed_groups is not None and ctx.recipe.train.in_round(iteration).method == "nft"
    aims = [
        (generate.mixed_groups, "mixed groups", lambda: score.mixed_of(ctx, asked, rollouts, scores), mixed),
        (generate.target_accepted, "accepted rollouts", lambda: sum(int(m.extra["passed"]) for m in scores), True),
    ]
    wanted = [_lacking(ctx, pool, asked, aim, what, count()) for aim, what, count, on in aims if aim is not None and on]
    return max(wanted, default=0)


def _lacking(ctx: Context, pool: Manifests, asked: Sequence[Manifest], aim: int, what: str, found: int) -> int:
    """How many further tasks bring `found` up to `aim` at the share so far; 0 when it is there, or cannot be reached (told)."""
    generate, iteration = ctx.recipe.generate, asked[0].iteration or 0
    if found >= aim:
        return 0
    done, left = sum(m.counts.rows_out for m in asked), assign.tasks_left(ctx, pool, asked)
    if len(asked) >= generate.max_waves or not left:
        why = f"generate.max_waves = {generate.max_waves}" if left else "every training task was asked"
        ctx.progress.say(f"round {iteration}: {found} of {aim} {what} after {done} tasks ({why})")
        return 0
    return min(left, generate.tasks, ceil((aim - found) * done / max(found, 1)))


def weights(ctx: Context, pool: Manifests, rollouts: Sequence[Manifest], scores: Sequence[Manifest]) -> dict[str, float] | None:
    """What a further wave's families weigh under `target_accepted`: as the recipe says, times their share of passes so far.

    A family that passed nothing keeps a quarter of the best one's share, since it may have been asked too little to tell.
    None without a target.
    """
    generate = ctx.recipe.generate
    if generate.target_accepted is None:
        return None
    rates = _pass_rates(ctx, pool, rollouts, scores)
    best = max(rates.values(), default=1.0)
    families = set(ctx.store.read("tasks", several(pool), columns=["family"])["family"].to_pylist())
    return {f: round(generate.weights.get(f, 1.0) * max(rates.get(f, best), best / 4), 6) for f in sorted(families)}


def _pass_rates(ctx: Context, pool: Manifests, rollouts: Sequence[Manifest], scores: Sequence[Manifest]) -> dict[str, float]:
    """Passed and one more of judged and two more (Laplace's rule), by family."""
    family = _pairs(ctx.store.read("tasks", several(pool), ["task_id", "family"]))
    task = _pairs(ctx.store.read("rollouts", rollouts, ["rollout_id", "task_id"]))
    passed, judged = Counter[str](), Counter[str]()
    for row in ctx.store.read("scores", scores, ["subject_kind", "subject_id", "status"]).to_pylist():
        if row["subject_kind"] == "rollout" and row["status"] in ("pass", "fail"):
            of = family[task[row["subject_id"]]]
            judged[of] += 1
            passed[of] += row["status"] == "pass"
    return {f: (passed[f] + 1) / (judged[f] + 2) for f in judged}


def _pairs(table: pa.Table) -> dict[str, str]:
    """Two columns as a dict."""
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def drop_unasked(ctx: Context, iteration: int, asked: Sequence[Manifest]) -> None:
    """Waves of a round that the present config no longer asks leave the live set, with all that was made from them."""
    live, kept = ctx.store.live(), {m.artifact_id for m in asked}
    extra = {
        id for id, m in live.items()
        if m.stage == "assign" and m.iteration == iteration and (m.shard or "").startswith("train+") and id not in kept
    }  # fmt: skip
    if extra:
        ctx.store.commit(add=[], remove=sorted(with_descendants(live, extra)), why=f"assign {iteration}: waves no longer asked")
