"""Dynamic sampling (DAPO, 2503.14476): an nft round asks further tasks until enough of its groups teach; bounded, and told.

A group all right or all wrong has no gradient under NFT. How many will be mixed is not known before they are sampled, so a
round that wants a batch of so many asks again: other tasks, the same policy, as many as the share so far says are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from ratoon.pipelines import sample, score
from ratoon.pipelines.context import Context
from ratoon.pipelines.stage import Manifests, with_descendants
from ratoon.store import Manifest


def more(
    ctx: Context, pool: Manifests, asked: Sequence[Manifest], rollouts: Sequence[Manifest], scores: Sequence[Manifest]
) -> int:
    """How many further tasks the round asks: 0 when enough groups are mixed, or when waves or tasks are used up (told)."""
    generate, iteration = ctx.recipe.generate, asked[0].iteration or 0
    if generate.mixed_groups is None or ctx.recipe.train.in_round(iteration).method != "nft":
        return 0
    found = score.mixed_of(ctx, asked, rollouts, scores)
    lacking = generate.mixed_groups - found
    if lacking <= 0:
        return 0
    done, left = sum(m.counts.rows_out for m in asked), sample.tasks_left(ctx, pool, asked)
    if len(asked) >= generate.max_waves or not left:
        why = f"generate.max_waves = {generate.max_waves}" if left else "every training task was asked"
        ctx.progress.say(f"round {iteration}: {found} of {generate.mixed_groups} mixed groups after {done} tasks ({why})")
        return 0
    return min(left, generate.tasks, ceil(lacking * done / max(found, 1)))


def drop_unasked(ctx: Context, iteration: int, asked: Sequence[Manifest]) -> None:
    """Waves of a round that the present config no longer asks leave the live set, with all that was made from them."""
    live, kept = ctx.store.live(), {m.artifact_id for m in asked}
    extra = {
        id for id, m in live.items()
        if m.stage == "assign" and m.iteration == iteration and (m.shard or "").startswith("train+") and id not in kept
    }  # fmt: skip
    if extra:
        ctx.store.commit(add=[], remove=sorted(with_descendants(live, extra)), why=f"assign {iteration}: waves no longer asked")
