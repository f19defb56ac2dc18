"""A model asked about replies: prompts by content, asked once in all rounds, kept as rollouts of a role of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.engine import Policy, Sampling
from ratoon.errors import EngineDead
from ratoon.generators import rollouts as driver
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.token_counts import token_counts
from ratoon.store.store import ArtifactKey, Counts, Manifest


@dataclass(frozen=True)
class Bench:
    """Who is asked in which role, how and how often, and what it was asked before."""

    role: str
    policy: Policy
    sampling: Sampling
    version: str
    before: Sequence[Manifest]
    repeats: int = 1
    top_logprobs: int = 0

    def rollout_id(self, prompt_id: str, repeat: int = 0) -> str:
        """The id of its reply to a prompt."""
        return ids.rollout_id(prompt_id, self.policy.policy_id, self.sampling.sampling_id, repeat)


def prompts(ctx: Context, bench: Bench, talks: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> pa.Table:
    """One prompt a (task, conversation), in their order."""
    rendered, template = ctx.renderer.render([talk for _, talk in talks]), ctx.renderer.template_digest
    rows = [
        {"prompt_id": ids.prompt_id(task, bench.role, template, tokens), "task_id": task, "role": bench.role,
         "template_digest": template, "messages": talk, "token_ids": tokens}
        for (task, talk), tokens in zip(talks, rendered, strict=True)
    ]  # fmt: skip
    return schema.from_rows("prompts", rows)


def fresh(ctx: Context, asked: pa.Table, bench: Bench) -> tuple[pa.Table, pa.Table]:
    """The prompts that it was never asked, and the replies it gave to the others in earlier rounds."""
    if not bench.before:
        return asked, schema.empty("rollouts")
    wanted_of = {
        prompt: [bench.rollout_id(prompt, n) for n in range(bench.repeats)] for prompt in asked["prompt_id"].to_pylist()
    }
    wanted = pa.array([rollout for found in wanted_of.values() for rollout in found], pa.string())
    batches = (b.filter(pc.is_in(b["rollout_id"], value_set=wanted)) for b in ctx.store.scan("rollouts", bench.before))
    earlier = pa.Table.from_batches(batches, schema=schema.TABLES["rollouts"])
    have = set(earlier["rollout_id"].to_pylist())
    new = [prompt for prompt, found in wanted_of.items() if not have.issuperset(found)]
    kept = {rollout for prompt, found in wanted_of.items() if have.issuperset(found) for rollout in found}
    rows = asked.filter(pc.is_in(asked["prompt_id"], value_set=pa.array(new, pa.string())))
    return rows, earlier.filter(pc.is_in(earlier["rollout_id"], value_set=pa.array(sorted(kept), pa.string())))


def assignments(asked: pa.Table, bench: Bench, iteration: int) -> pa.Table:
    """Table `assignments` of prompts that are asked now."""
    n = asked.num_rows
    columns = {
        "iteration": [iteration] * n, "task_id": asked["task_id"], "prompt_id": asked["prompt_id"],
        "sampling_id": [bench.sampling.sampling_id] * n, "n_planned": [bench.repeats] * n, "first_sample": [0] * n,
        "purpose": [bench.role] * n,
    }  # fmt: skip
    return schema.from_columns("assignments", columns, n)


def ask(
    ctx: Context, bench: Bench, wanted: ArtifactKey, assigned: pa.Table, asked: pa.Table, iteration: int
) -> tuple[pa.Table, pa.Table]:
    """Tables `rollouts` and `failures` of what it is asked now. Raises EngineDead."""
    plan = driver.plan(assigned, asked, bench.policy, bench.sampling, top_logprobs=bench.top_logprobs)
    journal = ctx.store.journal(wanted.artifact_id)
    try:
        return driver.run(plan, ctx.engine(bench.policy), ctx.renderer, journal, iteration)
    except EngineDead:
        ctx.engine_died()
        raise


def counts(ctx: Context, made: pa.Table, asked: pa.Table) -> Counts:
    """What was asked, what failed, and what it cost."""
    failed = made.num_rows - made["error"].null_count
    used = token_counts(made, asked)
    return Counts(
        made.num_rows, made.num_rows - failed, failed=failed, prompt_tokens=used.prompt, sampled_tokens=used.sampled,
        cost=ctx.recipe.budget.prices.cost(used.prompt, used.sampled, cached=used.cached),
    )  # fmt: skip
