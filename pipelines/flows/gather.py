"""Rollouts gathered: a round's training rollouts in waves, a suite's at once, replies to what proposers ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ratoon.engine import Policy
from ratoon.pipelines.flows.fan_out import sampled, stage
from ratoon.pipelines.rollouts import score
from ratoon.pipelines.rollouts.askers import drop_unasked, next_wave
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop, RoundSoFar
from ratoon.pipelines.runtime.stage import Manifests, drop_extra, several
from ratoon.pipelines.tasks.propose import Sampled
from ratoon.store.store import Manifest


def gather(ctx: Context, pool: Manifests, prompts: Manifests, made_by: Manifest, policy: Policy, iteration: int) -> Crop:
    """A round's training rollouts, sampled and scored wave by wave until no asker of the recipe wants another."""
    held = RoundSoFar(iteration, several(pool), several(prompts))
    while (assigned := stage(next_wave)(ctx, held)) is not None:
        held = held.with_wave(assigned, *sampled(ctx, pool, prompts, assigned, made_by, policy, first=len(held.rollouts)))
    drop_unasked(ctx, iteration, held.asked)
    return _crop(ctx, pool, prompts, held.asked, held.rollouts, held.scores)


def harvest(ctx: Context, pool: Manifest, prompts: Manifest, asked: Manifest, made_by: Manifest, policy: Policy) -> Crop:
    """Every assigned rollout sampled, verified and grouped."""
    return _crop(ctx, pool, prompts, [asked], *sampled(ctx, pool, prompts, asked, made_by, policy))


def asking(ctx: Context, made_by: Manifest, policy: Policy) -> Sampled:
    """A function from a proposer's prompts to their rollouts, which nobody scores."""

    def replies(asked: Manifest, schemas: Mapping[str, str]) -> list[Manifest]:
        rollouts, _ = sampled(ctx, None, asked, asked, made_by, policy, schemas=schemas)
        drop_extra(ctx.store, "rollouts", asked.iteration or 0, asked.shard or "", [m.artifact_id for m in rollouts])
        return rollouts

    return replies


def _crop(
    ctx: Context,
    pool: Manifests,
    prompts: Manifests,
    asked: Sequence[Manifest],
    rollouts: Sequence[Manifest],
    scores: Sequence[Manifest],
) -> Crop:
    """What was sampled, grouped; shards that the present config no longer plans leave the live set."""
    iteration, purpose = asked[0].iteration or 0, asked[0].shard or ""
    for name, made in (("rollouts", rollouts), ("scores", scores)):
        drop_extra(ctx.store, name, iteration, purpose, [m.artifact_id for m in made])
    groups = stage(score.group)(ctx, asked, rollouts, scores)
    return Crop(iteration, several(pool), several(prompts), rollouts, scores, groups)
