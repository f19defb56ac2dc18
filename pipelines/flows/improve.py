"""The flow: rounds of generate, verify, curate, fine-tune, evaluate.

Tasks of Prefect pass manifests (ids and counts), never tables. The commit log is the record;
Prefect's database is a view of it, and a flow that is killed goes on from the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from ratoon.engine import Policy
from ratoon.errors import Stopped
from ratoon.pipelines.audit import after_run as last_audit
from ratoon.pipelines.curation import dataset_card as cards
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.curation import question_only as bare
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.evaluation import rounds as qdc
from ratoon.pipelines.evaluation import verifiers as measure
from ratoon.pipelines.evaluation.policies import evals
from ratoon.pipelines.flows import notify
from ratoon.pipelines.flows.fan_out import stage
from ratoon.pipelines.flows.gather import asking, gather, harvest
from ratoon.pipelines.rollouts import appeal, assign, judge
from ratoon.pipelines.rollouts.calibrate_votes import calibrate
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.tasks.propose import Made, propose_tasks
from ratoon.pipelines.training import gate
from ratoon.pipelines.training.train import finetune, policy_of
from ratoon.store.store import Manifest


def improve(ctx: Context) -> None:
    """A base model through `run.iterations` rounds and their audits; what is committed already is found, not made again.

    A run that a budget, the gate or a rule stops is audited as far as it came, unless a signal or the clock ended the start.
    """
    try:
        _rounds(ctx)
    except Stopped:
        if not ctx.meter.ended:
            _audits(ctx)
        raise
    _audits(ctx)


def _audits(ctx: Context) -> None:
    notify.audited(ctx.store, stage(last_audit.write_audits)(ctx.store, ctx.recipe.audit, ctx.progress.say))


def _rounds(ctx: Context) -> None:
    pool = stage(propose.tasks)(ctx)
    stage(measure.verifiers)(ctx, pool)
    prompts = stage(propose.prompts)(ctx, pool)
    base_row, base = stage(records.base)(ctx)
    policy, made_by, curated = base, base_row, []
    evaluate(ctx, pool, prompts, base_row, base, 0)
    made = Made([], [])
    for iteration in range(1, ctx.recipe.run.iterations + 1):
        made = propose_tasks(ctx, [pool], made, iteration, stage, asking(ctx, made_by, policy))
        crop = gather(ctx, [pool, *made.tasks], [prompts, *made.prompts], made_by, policy, iteration)
        stage(calibrate)(ctx, crop)
        linted = stage(linting.lint)(ctx.store, crop)
        stage(judge.judge_round)(ctx, crop, policy, base)
        stage(appeal.appeal_round)(ctx, crop, policy, base)
        stage(bare.prompts)(ctx, crop)
        curated.append(stage(curate)(ctx.store, ctx.recipe, crop))
        stage(qdc.measure)(ctx.store, ctx.recipe, crop, curated[-1], linted)
        cards.tell(ctx.store, curated[-1])
        stage(gate.gate)(ctx, crop, curated[-1])
        made_by, policy = stage(finetune)(ctx, curated, policy, base, iteration)
        if iteration % ctx.recipe.run.evaluate_every == 0 or iteration == ctx.recipe.run.iterations:
            evaluate(ctx, pool, prompts, made_by, policy, iteration)
        notify.round_finished(ctx.store, iteration)


def evaluate(
    ctx: Context, pool: Manifest, prompts: Manifest, made_by: Manifest, policy: Policy, iteration: int, name: str = "heldout"
) -> Manifest:
    """One suite on one policy, compared with the base and the policy before."""
    asked = stage(assign.assign_suite)(ctx, pool, prompts, iteration, name, ctx.recipe.suites[name])
    crop = harvest(ctx, pool, prompts, asked, made_by, policy)
    return stage(evals)(ctx, crop, policy, name)


def evaluate_base(ctx: Context, suites: Sequence[str], iteration: int) -> None:
    """The context's own model on some suites, as the policy of `iteration`: for models that no run made."""
    pool = stage(propose.tasks)(ctx)
    prompts = stage(propose.prompts)(ctx, pool)
    made_by, policy = stage(records.base)(ctx, None, iteration)
    for name in suites:
        evaluate(ctx, pool, prompts, made_by, policy, iteration, name)


def evaluate_newest(ctx: Context, name: str) -> None:
    """One suite on a run's base and, where there is one, its newest policy."""
    pool = stage(propose.tasks)(ctx)
    prompts = stage(propose.prompts)(ctx, pool)
    base_row, base = stage(records.base)(ctx)
    evaluate(ctx, pool, prompts, base_row, base, 0, name)
    made = max(ctx.store.find("policy"), key=lambda m: m.iteration or 0, default=None)
    if made is not None:
        evaluate(ctx, pool, prompts, made, policy_of(ctx, made), made.iteration or 0, name)
