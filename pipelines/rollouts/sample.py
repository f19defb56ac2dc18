"""Who is asked what, and what they answered: assignments, shards, rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.engine import Completion, Policy, Sampling
from ratoon.errors import EngineDead
from ratoon.generators import rollouts as driver
from ratoon.generators.assign import choose
from ratoon.generators.engines import EngineConfig
from ratoon.pipelines.recipe.recipe import SamplingConfig, SuiteConfig
from ratoon.pipelines.rollouts import adaptive_consistency as asking
from ratoon.pipelines.rollouts import retry_queue as retry
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, Manifests, key, run_stage, several
from ratoon.pipelines.tasks import pool as propose
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


def assign_round(
    ctx: Context, pool: Manifests, prompts: Manifests, iteration: int, wave: int = 0, n_tasks: int | None = None,
    weights: dict[str, float] | None = None,
) -> Manifest:  # fmt: skip
    """The training tasks of one round, each planned `generate.n` times; a later `wave` asks `n_tasks` others, of families as
    `weights` says where it is given."""
    generate, seed = ctx.recipe.generate, ctx.recipe.run.seed
    sampling = ctx.sampling(ctx.recipe.sampling)
    propose.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    earlier = [m for m in ctx.store.find("assign") if _before(m, iteration, wave)]
    config = generate.model_dump(include={"tasks", "n", "weights"}) | {"seed": seed, "sampling": sampling.sampling_id}
    config |= {"wave": wave, "tasks": n_tasks or generate.tasks} if wave else {}
    config |= {"weights": weights} if weights is not None else {}
    twins = ctx.recipe.consensus is not None and ctx.recipe.consensus.twins
    config |= {"twins": True} if twins else {}
    few = asking.first(ctx.recipe)
    config |= {"first": few} if few != generate.n else {}
    inputs = {m.artifact_id: m.content_digest for m in [*several(pool), *several(prompts), *earlier]}
    retried = retry.sources(ctx.store, iteration) if ctx.recipe.train.uses("nft") and generate.retry_share else []
    if retried:
        config |= {"retry_share": generate.retry_share, "retry_times": generate.retry_times}
        inputs |= {m.artifact_id: m.digests["state"] for m in retried}

    def build() -> Built:
        tasks = ctx.store.read("tasks", several(pool))
        tasks = tasks.filter(pc.equal(tasks["split"], "train"))
        rows = ctx.store.read("assignments", earlier, columns=["iteration", "task_id"])
        asked = sorted(set(zip(rows["iteration"].to_pylist(), rows["task_id"].to_pylist(), strict=True)))
        left = _unasked(tasks, [task for i, task in asked if i == iteration])
        families = set(left["family"].to_pylist()) if wave else set(config["weights"])
        chosen = choose(
            left, iteration, config["tasks"], ids.derive_seed(seed, "assign"), [task for _, task in asked],
            {family: weight for family, weight in config["weights"].items() if family in families},
            retry=retry.queue(ctx.store.read("state", retried), asked, generate.retry_times), retry_share=generate.retry_share,
        )  # fmt: skip
        chosen = _with_parents(left, chosen) if twins else chosen
        return _planned(ctx, chosen, prompts, sampling, iteration, generate.n, "train", 0, few)

    return run_stage(ctx.store, key("assign", iteration, wave_name(wave), config=config, inputs=inputs), build)


def _with_parents(tasks: pa.Table, chosen: pa.Table) -> pa.Table:
    """The chosen tasks and what they are paraphrases of: twins are asked together."""
    parents = pc.unique(chosen["parent_ids"].combine_chunks().flatten())
    wanted = pa.concat_arrays([chosen["task_id"].combine_chunks(), parents])
    return tasks.filter(pc.is_in(tasks["task_id"], value_set=wanted)).sort_by("task_id")


def _unasked(tasks: pa.Table, asked: Sequence[str]) -> pa.Table:
    return tasks.filter(pc.invert(pc.is_in(tasks["task_id"], value_set=pa.array(asked, pa.string()))))


def tasks_left(ctx: Context, pool: Manifests, asked: Sequence[Manifest]) -> int:
    """How many training tasks a further wave could ask, of families that take part."""
    out = [family for family, weight in ctx.recipe.generate.weights.items() if weight == 0]
    tasks = ctx.store.read("tasks", several(pool), columns=["task_id", "split", "family"])
    tasks = tasks.filter(
        pc.and_(pc.equal(tasks["split"], "train"), pc.invert(pc.is_in(tasks["family"], value_set=pa.array(out, pa.string()))))
    )
    return _unasked(tasks, ctx.store.read("assignments", asked, columns=["task_id"])["task_id"].to_pylist()).num_rows


def wave_name(wave: int) -> str:
    """The slot of a wave's assignments: `train`, then `train+1` …"""
    return f"train+{wave}" if wave else "train"


def _before(assigned: Manifest, iteration: int, wave: int) -> bool:
    """Whether these are training assignments of an earlier round, or of an earlier wave of this one."""
    name, _, number = (assigned.shard or "").partition("+")
    return name == "train" and ((assigned.iteration or 0), int(number or 0)) < (iteration, wave)


def assign_suite(ctx: Context, pool: Manifest, prompts: Manifest, iteration: int, name: str, suite: SuiteConfig) -> Manifest:
    """The tasks of an evaluation suite: the same at every iteration."""
    sampling = ctx.sampling(suite.sampling)
    propose.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    first, seed = first_sample(ctx, name), propose.task_seed(ctx)
    config = {"split": suite.split, "n": suite.n, "tasks": suite.tasks, "sampling": sampling.sampling_id, "first": first,
              "seed": seed}  # fmt: skip

    def build() -> Built:
        tasks = ctx.store.read("tasks", [pool])
        tasks = tasks.filter(pc.equal(tasks["split"], suite.split))
        if suite.tasks is not None and tasks.num_rows > suite.tasks:
            tasks = _few(tasks, suite.tasks, ids.derive_seed(seed, "suite", name))
        return _planned(ctx, tasks, prompts, sampling, iteration, suite.n, f"suite:{name}", first)

    return run_stage(ctx.store, key("assign", iteration, f"suite-{name}", config=config, inputs=[pool, prompts]), build)


def _few(tasks: pa.Table, n: int, seed: int) -> pa.Table:
    """The `n` tasks of least hash: a larger `n` keeps all that a smaller one had."""
    order = sorted(tasks["task_id"].to_pylist(), key=lambda task: (ids.derive_seed(seed, "few", task), task))
    return tasks.filter(pc.is_in(tasks["task_id"], value_set=pa.array(order[:n], pa.string())))


def first_sample(ctx: Context, name: str) -> int:
    """The first sample number of a suite: past those that training and the suites before it may take of one group."""
    recipe, suite = ctx.recipe, ctx.recipe.suites[name]
    taken = asking.most(recipe) if suite.split == "train" and suite.sampling == recipe.sampling else 0
    for other, config in recipe.suites.items():
        if other == name:
            break
        if config.split == suite.split and config.sampling == suite.sampling:
            taken += config.n
    return taken


def _planned(
    ctx: Context, tasks: pa.Table, prompts: Manifests, sampling: Sampling, iteration: int, n: int, purpose: str, first: int,
    unjudged: int | None = None,
) -> Built:  # fmt: skip
    """Assignment rows in task-id order; a task without a prompt (it did not fit) is dropped here, its failure is recorded.

    `unjudged` is the `n` of tasks without a verifier, where it is another.
    """
    rendered = ctx.store.read("prompts", several(prompts), columns=["prompt_id", "task_id"])
    joined = tasks.select(["task_id", "family", "verifier"]).join(rendered, "task_id", join_type="inner").sort_by("task_id")
    size = joined.num_rows
    asked = [n if verifier or unjudged is None else unjudged for verifier in joined["verifier"].to_pylist()]
    columns = {
        "iteration": [iteration] * size, "task_id": joined["task_id"], "prompt_id": joined["prompt_id"],
        "sampling_id": [sampling.sampling_id] * size, "n_planned": asked, "first_sample": [first] * size,
        "purpose": [purpose] * size, "arm": joined["family"],
    }  # fmt: skip
    table = schema.from_columns("assignments", columns, size)
    return Built({"assignments": table}, Counts(tasks.num_rows, size, dropped=tasks.num_rows - size))


def shards(
    ctx: Context, assigned: Manifest, policy_made_by: Manifest, policy: Policy, first: int = 0,
    schemas: Mapping[str, str] | None = None,
) -> list[Shard]:  # fmt: skip
    """The assignments cut into shards of the run's frozen size, by task id and prompt id, numbered from `first`."""
    purpose = (assigned.shard or "").partition("+")[0]
    sampling = ctx.sampling(_sampling_of(ctx, assigned, purpose))
    rows = ctx.store.read("assignments", [assigned]).sort_by([("task_id", "ascending"), ("prompt_id", "ascending")])
    size = int(ctx.store.frozen["shard_size"])
    iteration = assigned.iteration or 0
    return [
        Shard(
            f"{purpose}-{first + start // size:04d}",
            iteration,
            rows.slice(start, size),
            assigned,
            policy_made_by,
            policy,
            sampling,
            schemas or {},
        )
        for start in range(0, rows.num_rows, size)
    ]


def _sampling_of(ctx: Context, assigned: Manifest, purpose: str) -> SamplingConfig:
    """How the recipe samples what was assigned: a round, what proposers are asked, or a suite."""
    if assigned.stage == "ask":
        return ctx.recipe.propose.sampling
    return ctx.recipe.sampling if purpose == "train" else ctx.recipe.suites[purpose.removeprefix("suite-")].sampling


def sample_shard(
    ctx: Context, shard: Shard, prompts: Manifests, on_done: Callable[[Completion], None] | None = None
) -> Manifest:
    """The rollouts of one shard: journaled ones are not asked again; a failed request is a failed row."""
    wanted, retry, earlier = _attempt(ctx, shard)
    return run_stage(ctx.store, wanted, lambda: _sample(ctx, shard, prompts, wanted, retry, earlier, on_done))


def _shard_key(engine: EngineConfig, shard: Shard, attempt: int) -> ArtifactKey:
    assigned, made_by = shard.assigned, shard.policy_made_by
    slice_digest = content_digest(shard.rows, schema.KEYS["assignments"], frozenset())
    inputs = {assigned.artifact_id: slice_digest, made_by.artifact_id: made_by.content_digest}
    config = {"policy": shard.policy.policy_id, "sampling": shard.sampling.sampling_id, "attempt": attempt,
              "engine": [engine.kind, semantic(engine.section)]}  # fmt: skip
    if shard.schemas:
        config["schemas"] = ids.digest(dict(sorted(shard.schemas.items())))
    return key("rollouts", shard.iteration, shard.name, config=config, inputs=inputs)


def _attempt(ctx: Context, shard: Shard) -> tuple[ArtifactKey, frozenset[str], Manifest | None]:
    """The shard's key at its last live attempt, or at the next one when failed rollouts are to be asked again."""
    attempt, live = 0, None
    for manifest in ctx.store.find("rollouts", shard.iteration):
        tried = int(manifest.key.config["attempt"])
        if manifest.key.shard == shard.name and _shard_key(ctx.recipe.engine, shard, tried).artifact_id == manifest.artifact_id:
            attempt, live = tried, manifest
    if live is None or not ctx.retry_failed or live.counts.failed == 0:
        return _shard_key(ctx.recipe.engine, shard, attempt), frozenset(), None
    errors = ctx.store.read("rollouts", [live], columns=["rollout_id", "error"])
    failed = errors.filter(pc.is_valid(errors["error"]))["rollout_id"].to_pylist()
    return _shard_key(ctx.recipe.engine, shard, attempt + 1), frozenset(failed), live


def _sample(
    ctx: Context, shard: Shard, prompts: Manifests, wanted: ArtifactKey, retry: frozenset[str], earlier: Manifest | None,
    on_done: Callable[[Completion], None] | None,
) -> Built:  # fmt: skip
    asked = shard.rows["prompt_id"].combine_chunks()
    table = ctx.lookup.rows("prompts", prompts, "prompt_id", asked, _PROMPT)
    plan = driver.plan(shard.rows, table, shard.policy, shard.sampling, shard.schemas)
    before = ctx.store.read("rollouts", [earlier]) if earlier is not None else None
    journal = ctx.store.journal(wanted.artifact_id)
    try:
        made, failures = driver.run(
            plan, ctx.engine(shard.policy), ctx.renderer, journal, shard.iteration, retry=retry, earlier=before, on_done=on_done
        )
    except EngineDead:
        ctx.engine_died()
        raise
    if driver.with_lone_surrogates(made):
        ctx.progress.say_once("replies hold lone surrogates, written as U+FFFD; rollouts.meta counts them: `lone_surrogates`")
    counts = _counts(ctx, shard, made, table)
    again = made.filter(pc.is_in(made["rollout_id"], value_set=pa.array(sorted(retry), pa.string())))
    paid = _counts(ctx, shard, again, table)
    extra = {"paid": [paid.prompt_tokens, paid.sampled_tokens]} if earlier is not None else {}
    return Built({"rollouts": made, "failures": failures}, counts, extra)


def _counts(ctx: Context, shard: Shard, made: pa.Table, prompts: pa.Table) -> Counts:
    failed = made.num_rows - made["error"].null_count
    lengths = dict(zip(prompts["prompt_id"].to_pylist(), pc.list_value_length(prompts["token_ids"]).to_pylist(), strict=True))
    asked = sum(lengths[prompt] for prompt in made["prompt_id"].to_pylist())
    sampled = pc.sum(pc.list_value_length(made["token_ids"])).as_py() or 0
    seconds = pc.max(made["seconds"]).as_py() or 0.0
    return Counts(
        shard.n_planned, made.num_rows - failed, failed=failed, prompt_tokens=asked, sampled_tokens=sampled, seconds=seconds,
        cost=ctx.recipe.budget.prices.cost(asked, sampled),
    )  # fmt: skip
