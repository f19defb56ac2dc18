"""Rollouts gathered: a round's training rollouts in waves, a suite's at once, replies to what proposers ask."""

from __future__ import annotations

from collections.abc import Mapping

from ratoon.engine import Policy
from ratoon.pipelines.flows.fan_out import sampled, stage
from ratoon.pipelines.rollouts import adaptive_consistency as consistency
from ratoon.pipelines.rollouts import assign, score
from ratoon.pipelines.rollouts import dynamic_sampling as waves
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Manifests, drop_extra, several
from ratoon.pipelines.tasks.propose import Sampled
from ratoon.store.store import Manifest


def gather(ctx: Context, pool: Manifests, prompts: Manifests, made_by: Manifest, policy: Policy, iteration: int) -> Crop:
    """A round's training rollouts; asked in waves until enough are accepted, or enough groups of an nft round are mixed.

    Where votes label, tasks whose vote is still open are asked again.
    """
    asked, rollouts, scores = list[Manifest](), list[Manifest](), list[Manifest]()
    n_tasks: int | None = None
    while n_tasks is None or n_tasks > 0:
        weights = waves.weights(ctx, pool, rollouts, scores) if asked else None
        asked.append(stage(assign.assign_round)(ctx, pool, prompts, iteration, len(asked), n_tasks, weights))
        made, judged = sampled(ctx, pool, prompts, asked[-1], made_by, policy, first=len(rollouts))
        rollouts, scores = rollouts + made, scores + judged
        n_tasks = waves.more(ctx, pool, asked, rollouts, scores)
    while (wave := consistency.further(ctx, asked, rollouts, scores)) is not None:
        asked.append(wave)
        made, judged = sampled(ctx, pool, prompts, wave, made_by, policy, first=len(rollouts))
        rollouts, scores = rollouts + made, scores + judged
    waves.drop_unasked(ctx, iteration, asked)
    return _crop(ctx, pool, prompts, asked, rollouts, scores)


def harvest(ctx: Context, pool: Manifest, prompts: Manifest, asked: Manifest, made_by: Manifest, policy: Policy) -> Crop:
    """Every assigned rollout sampled, verified and grouped."""
    return _crop(ctx, pool, prompts, [asked], *sampled(ctx, pool, prompts, asked, made_by, policy))


def asking(ctx: Context, made_by: Manifest, policy: Policy) -> Sampled:
    """What gives the rollouts of a proposer's prompts: nobody scores them."""

    def replies(asked: Manifest, schemas: Mapping[str, str]) -> list[Manifest]:
        rollouts, _ = sampled(ctx, None, asked, asked, made_by, policy, schemas=schemas)
        drop_extra(ctx.store, "rollouts", asked.iteration or 0, asked.shard or "", [m.artifact_id for m in rollouts])
        return rollouts

    return replies


def _crop(
    ctx: Context, pool: Manifests, prompts: Manifests, asked: list[Manifest], rollouts: list[Manifest], scores: list[Manifest]
) -> Crop:
    """What was sampled, grouped; shards that the present config no longer plans leave the live set."""
    iteration, purpose = asked[0].iteration or 0, asked[0].shard or ""
    for name, made in (("rollouts", rollouts), ("scores", scores)):
        drop_extra(ctx.store, name, iteration, purpose, [m.artifact_id for m in made])
    groups = stage(score.group)(ctx, asked, rollouts, scores)
    return Crop(iteration, several(pool), several(prompts), rollouts, scores, groups)
