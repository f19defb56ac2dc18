"""Who asks in a round, chosen from the recipe here and nowhere else.

An asker looks at what the round holds so far and gives the assignments of one more wave, or null when it has nothing to ask.
After each wave all are heard again, in order, and the first that asks is answered. A decision is made of committed
artifacts alone, so that a run which is killed asks the same waves again. A rule that looks at groups alone and asks tasks
again is a file of `generators/waves/`, and nothing here; any other asker is a file of its own and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.rollouts import (
    adaptive_consistency,
    asked_again,
    dynamic_sampling,
    first_wave,
    paraphrase_pairs,
    retry_queue,
)
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import Manifests, several, with_descendants
from ratoon.store.store import Manifest

Asker = Callable[[Context, RoundSoFar], Manifest | None]


def askers(recipe: Recipe, iteration: int) -> list[Asker]:
    """The askers of a round, in the order they are heard."""
    generate, votes = recipe.generate, recipe.consensus
    mixed_groups = generate.mixed_groups if recipe.learns_from_groups(iteration) else None
    prefer = _prefer(recipe)
    chosen = [first_wave.asker(prefer)]
    if mixed_groups is not None or generate.target_accepted is not None:
        chosen.append(dynamic_sampling.asker(prefer, mixed_groups, generate.target_accepted))
    if votes is not None and votes.wave:
        chosen.append(adaptive_consistency.asker(votes))
    return [*chosen, *map(asked_again.asker, generate.again)]


def _prefer(recipe: Recipe) -> first_wave.Prefer:
    """Which tasks the waves of a run prefer. Paraphrases need votes, a retry queue contrast."""
    if recipe.consensus is not None and recipe.consensus.twins:
        return paraphrase_pairs.prefer
    if recipe.keeps_failures and recipe.generate.retry_share:
        return retry_queue.prefer
    return first_wave.none


def next_wave(ctx: Context, held: RoundSoFar) -> Manifest | None:
    """The assignments of the first asker that has something to ask; null when the round is whole."""
    for ask in askers(ctx.recipe, held.iteration):
        if (assigned := ask(ctx, held)) is not None:
            return assigned
    return None


def assign_round(ctx: Context, pool: Manifests, prompts: Manifests, iteration: int) -> Manifest:
    """The assignments of a round's first wave."""
    assigned = next_wave(ctx, RoundSoFar(iteration, several(pool), several(prompts)))
    assert assigned is not None  # a round that holds nothing is always asked
    return assigned


def drop_unasked(ctx: Context, iteration: int, asked: Sequence[Manifest]) -> None:
    """Waves of a round that the present config no longer asks leave the live set, with all that was made from them."""
    live, kept = ctx.store.live(), {m.artifact_id for m in asked}
    extra = {
        id for id, m in live.items()
        if m.stage == "assign" and m.iteration == iteration and (m.shard or "").startswith("train+") and id not in kept
    }  # fmt: skip
    if extra:
        ctx.store.commit(add=[], remove=sorted(with_descendants(live, extra)), why=f"assign {iteration}: waves no longer asked")
