"""Who is asked what: the assignments of a round's waves and of an evaluation suite."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.engine import Sampling
from ratoon.generators.assign import choose
from ratoon.pipelines.recipe.recipe import SuiteConfig
from ratoon.pipelines.rollouts import adaptive_consistency as asking
from ratoon.pipelines.rollouts import retry_queue as retry
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, Manifests, key, run_stage, several
from ratoon.pipelines.tasks import pool as propose
from ratoon.store.store import Counts, Manifest


def assign_round(
    ctx: Context, pool: Manifests, prompts: Manifests, iteration: int, wave: int = 0, n_tasks: int | None = None,
    weights: dict[str, float] | None = None,
) -> Manifest:  # fmt: skip
    """The training tasks of one round, each planned `generate.n` times; a later `wave` asks `n_tasks` others, of families as
    `weights` says where it is given."""
    generate, seed = ctx.recipe.generate, ctx.recipe.run.seed
    sampling = ctx.sampling(ctx.recipe.sampling)
    records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
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
    records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
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
