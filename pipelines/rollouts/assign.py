"""Rows of table `assignments`, and those of an evaluation suite; who is asked in a round is told by `askers.py`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.engine import Sampling
from ratoon.pipelines.recipe.recipe import SuiteConfig
from ratoon.pipelines.rollouts import adaptive_consistency
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, Manifests, key, run_stage, several
from ratoon.pipelines.tasks import pool as propose
from ratoon.store.store import Counts, Manifest


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
        return planned(ctx, tasks, prompts, sampling, iteration, suite.n, f"suite:{name}", first)

    return run_stage(ctx.store, key("assign", iteration, f"suite-{name}", config=config, inputs=[pool, prompts]), build)


def _few(tasks: pa.Table, n: int, seed: int) -> pa.Table:
    """The `n` tasks of least hash: a larger `n` keeps all that a smaller one had."""
    order = sorted(tasks["task_id"].to_pylist(), key=lambda task: (ids.derive_seed(seed, "few", task), task))
    return tasks.filter(pc.is_in(tasks["task_id"], value_set=pa.array(order[:n], pa.string())))


def first_sample(ctx: Context, name: str) -> int:
    """The first sample number of a suite: past those that training and the suites before it may take of one group."""
    recipe, suite = ctx.recipe, ctx.recipe.suites[name]
    first = adaptive_consistency.most_replies(recipe) if suite.split == "train" and suite.sampling == recipe.sampling else 0
    for other, config in recipe.suites.items():
        if other == name:
            break
        if config.split == suite.split and config.sampling == suite.sampling:
            first += config.n
    return first


def planned(
    ctx: Context, tasks: pa.Table, prompts: Manifests, sampling: Sampling, iteration: int, n: int, purpose: str, first: int,
    unjudged: int | None = None,
) -> Built:  # fmt: skip
    """Assignment rows in task-id order; a task without a prompt (it did not fit) is dropped here, its failure is recorded.

    `unjudged` is how often tasks without a verifier are planned, where that differs from `n`.
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
