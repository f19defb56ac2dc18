"""One suite on one policy, in numbers: table `evals`, paired against the base and the policy before."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids
from ratoon.engine import Policy
from ratoon.metrics.evaluation.evaluate import evaluate
from ratoon.metrics.evaluation.outcomes import Outcomes, outcomes
from ratoon.metrics.evaluation.trivial_policies import evaluate_trivial
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest

_ROLLOUTS = ["rollout_id", "group_id", "task_id", "policy_id", "sampling_id", "text", "finish_reason", "error"]


def evals(ctx: Context, crop: Crop, policy: Policy, suite: str) -> Manifest:
    """Rates, intervals and paired differences of one suite; at iteration 0 the trivial policies' too."""
    earlier = _earlier(ctx, crop.iteration, suite)
    config = {"max_unjudged": ctx.recipe.verify.max_unjudged, "seed": ctx.recipe.run.seed}
    inputs = [*crop.inputs, *(m for other in earlier for m in other.inputs)]
    wanted = key("evals", crop.iteration, suite, config=config, inputs=inputs)
    return run_stage(ctx.store, wanted, lambda: _evaluate(ctx, crop, earlier, policy, suite))


def _earlier(ctx: Context, iteration: int, suite: str) -> list[Crop]:
    """The same suite's harvest on the base and on the policy before, where there are such."""
    purpose = f"suite-{suite}"
    done = sorted(m.iteration or 0 for m in ctx.store.find("groups") if m.shard == purpose and (m.iteration or 0) < iteration)
    return [crop_of(ctx.store, i, purpose) for i in sorted({*done[:1], *done[-1:]})]


def _evaluate(ctx: Context, crop: Crop, earlier: list[Crop], policy: Policy, suite: str) -> Built:
    asked = ctx.recipe.suites[suite]
    seed = ids.derive_seed(ctx.recipe.run.seed, "evals", suite) % 2**32
    tasks = _tasks(ctx, crop)
    rollouts = ctx.store.read("rollouts", crop.rollouts, columns=_ROLLOUTS)
    scores = ctx.store.read("scores", crop.scores)
    against = dict(_outcomes(ctx, other, tasks) for other in earlier)
    planned = {policy: _planned(other) for policy, other in zip(against, earlier, strict=True)}
    made = evaluate(
        rollouts, scores, tasks, policy_id=policy.policy_id, iteration=crop.iteration, suite=suite, against=against,
        sampling_id=ctx.sampling(asked.sampling).sampling_id, planned=_planned(crop), planned_against=planned,
        max_unjudged=ctx.recipe.verify.max_unjudged, seed=seed,
    )  # fmt: skip
    if crop.iteration == 0:
        known = ctx.store.read("tasks", crop.pool)
        known = known.filter(pc.not_equal(known["split"], asked.split))
        trivial = evaluate_trivial(
            tasks, ctx.pool(), iteration=0, suite=suite, known=known, samples=asked.n, seed=seed,
            max_unjudged=ctx.recipe.verify.max_unjudged,
        )  # fmt: skip
        made = pa.concat_tables([made, trivial])
    return Built({"evals": made}, Counts(made.num_rows, made.num_rows))


def _planned(crop: Crop) -> int:
    return sum(m.counts.rows_planned for m in crop.rollouts)


def _tasks(ctx: Context, crop: Crop) -> pa.Table:
    """The suite's tasks: those its groups are of."""
    asked = ctx.store.read("groups", [crop.groups], columns=["task_id"])["task_id"].combine_chunks()
    tasks = ctx.store.read("tasks", crop.pool)
    return tasks.filter(pc.is_in(tasks["task_id"], value_set=asked))


def _outcomes(ctx: Context, crop: Crop, tasks: pa.Table) -> tuple[str, Outcomes]:
    """Another policy's id and its outcomes by task."""
    rollouts = ctx.store.read("rollouts", crop.rollouts, columns=_ROLLOUTS)
    policy_id = rollouts["policy_id"][0].as_py()
    sampling_id = rollouts["sampling_id"][0].as_py()
    scores = ctx.store.read("scores", crop.scores)
    return policy_id, outcomes(rollouts, scores, tasks, policy_id=policy_id, sampling_id=sampling_id)
