"""What was answered: assignments cut into shards, a shard's rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.engine import Completion, Policy, Sampling, Usage
from ratoon.errors import EngineDead
from ratoon.generators import rollout_records
from ratoon.generators import rollouts as driver
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, Manifests, key, run_stage
from ratoon.pipelines.runtime.token_counts import token_counts
from ratoon.store.digests import content_digest
from ratoon.store.store import ArtifactKey, Counts, Manifest

_PROMPT = ("prompt_id", "task_id", "parent_rollout_id", "role", "messages", "token_ids")


@dataclass(frozen=True)
class Shard:
    """One shard's coordinates: its name, its slice of the assignments, and what they stand on.

    `schemas` are JSON schemas by prompt id, for replies that are decoded under one.
    """

    name: str
    iteration: int
    rows: pa.Table
    assigned: Manifest
    policy_made_by: Manifest
    policy: Policy
    sampling: Sampling
    schemas: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_planned(self) -> int:
        return int(pc.sum(self.rows["n_planned"]).as_py() or 0)


def shards(
    ctx: Context, assigned: Manifest, policy_made_by: Manifest, policy: Policy, first: int = 0,
    schemas: Mapping[str, str] | None = None,
) -> list[Shard]:  # fmt: skip
    """The assignments cut into shards of the run's frozen size, by task id and prompt id, numbered from `first`.

    A shard has one sampling, that of its assignments; where they name several, each is cut apart.
    """
    purpose = (assigned.shard or "").partition("+")[0]
    rows = ctx.store.read("assignments", [assigned]).sort_by([("task_id", "ascending"), ("prompt_id", "ascending")])
    size = int(ctx.store.frozen["shard_size"])
    cut: list[Shard] = []
    for sampling_id in sorted(pc.unique(rows["sampling_id"]).to_pylist()):
        sampling = records.sampling_of(ctx, sampling_id)
        own = rows.filter(pc.equal(rows["sampling_id"], sampling_id))
        for start in range(0, own.num_rows, size):
            name, part = f"{purpose}-{first + len(cut):04d}", own.slice(start, size)
            cut.append(Shard(name, assigned.iteration or 0, part, assigned, policy_made_by, policy, sampling, schemas or {}))
    return cut


def sample_shard(
    ctx: Context, shard: Shard, prompts: Manifests, on_done: Callable[[Completion], None] | None = None
) -> Manifest:
    """The rollouts of one shard: journaled ones are not asked again; a failed request is a failed row."""
    artifact_key, retry, earlier = _attempt(ctx, shard)
    return run_stage(ctx.store, artifact_key, lambda: _sample(ctx, shard, prompts, artifact_key, retry, earlier, on_done))


def _shard_key(recipe: Recipe, shard: Shard, attempt: int) -> ArtifactKey:
    engine, thinking = recipe.engine, recipe.verify.thinking
    assigned, made_by = shard.assigned, shard.policy_made_by
    slice_digest = content_digest(shard.rows, schema.KEYS["assignments"], frozenset())
    inputs = {assigned.artifact_id: slice_digest, made_by.artifact_id: made_by.content_digest}
    config = {"policy": shard.policy.policy_id, "sampling": shard.sampling.sampling_id, "attempt": attempt,
              "engine": [engine.kind, semantic(engine.section)]}  # fmt: skip
    if thinking is not None:
        config["thinking"] = list(thinking) if thinking != "none" else thinking
    if shard.schemas:
        config["schemas"] = ids.digest(dict(sorted(shard.schemas.items())))
    return key("rollouts", shard.iteration, shard.name, config=config, inputs=inputs)


def _attempt(ctx: Context, shard: Shard) -> tuple[ArtifactKey, frozenset[str], Manifest | None]:
    """The shard's key at its last live attempt, or at the next one when failed rollouts are to be asked again."""
    attempt, live = 0, None
    for manifest in ctx.store.find("rollouts", shard.iteration):
        tried = int(manifest.key.config["attempt"])
        if manifest.key.shard == shard.name and _shard_key(ctx.recipe, shard, tried).artifact_id == manifest.artifact_id:
            attempt, live = tried, manifest
    if live is None or not ctx.retry_failed or live.counts.failed == 0:
        return _shard_key(ctx.recipe, shard, attempt), frozenset(), None
    errors = ctx.store.read("rollouts", [live], columns=["rollout_id", "error"])
    failed = errors.filter(pc.is_valid(errors["error"]))["rollout_id"].to_pylist()
    return _shard_key(ctx.recipe, shard, attempt + 1), frozenset(failed), live


def _sample(
    ctx: Context, shard: Shard, prompts: Manifests, artifact_key: ArtifactKey, retry: frozenset[str], earlier: Manifest | None,
    on_done: Callable[[Completion], None] | None,
) -> Built:  # fmt: skip
    asked = shard.rows["prompt_id"].combine_chunks()
    table = ctx.lookup.rows("prompts", prompts, "prompt_id", asked, _PROMPT)
    plan = driver.plan(shard.rows, table, shard.policy, shard.sampling, shard.schemas)
    before = ctx.store.read("rollouts", [earlier]) if earlier is not None else None
    journal = ctx.store.journal(artifact_key.artifact_id)
    try:
        rollouts, failures = driver.run(
            plan, ctx.engine(shard.policy), ctx.renderer, journal, shard.iteration, retry=retry, earlier=before, on_done=on_done
        )
    except EngineDead:
        ctx.engine_died()
        raise
    if rollout_records.with_lone_surrogates(rollouts):
        ctx.progress.say_once("replies hold lone surrogates, written as U+FFFD; rollouts.meta counts them: `lone_surrogates`")
    used = token_counts(rollouts, table)
    again = rollouts.filter(pc.is_in(rollouts["rollout_id"], value_set=pa.array(sorted(retry), pa.string())))
    paid = used if earlier is None else token_counts(again, table)
    extra = {"paid": [paid.prompt, paid.sampled, paid.cached]} if earlier is not None or paid.cached else {}
    return Built({"rollouts": rollouts, "failures": failures}, _counts(ctx, shard, rollouts, used), extra)


def _counts(ctx: Context, shard: Shard, rollouts: pa.Table, used: Usage) -> Counts:
    failed = rollouts.num_rows - rollouts["error"].null_count
    seconds = pc.max(rollouts["seconds"]).as_py() or 0.0
    return Counts(
        shard.n_planned, rollouts.num_rows - failed, failed=failed, prompt_tokens=used.prompt, sampled_tokens=used.sampled,
        seconds=seconds, cost=ctx.recipe.budget.prices.cost(used.prompt, used.sampled, cached=used.cached),
    )  # fmt: skip
