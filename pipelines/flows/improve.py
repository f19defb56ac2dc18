"""The flow: rounds of generate, verify, curate, fine-tune, evaluate. The only kind of file that knows Prefect.

One Prefect task per shard and stage. Tasks pass manifests (ids and counts), never tables. The commit log is the record;
Prefect's database is a view of it, and a flow that is killed goes on from the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.utilities.annotations import quote

from ratoon.engine import Completion, Policy
from ratoon.errors import RatoonError, Stopped
from ratoon.pipelines.audit import after_run as last_audit
from ratoon.pipelines.curation import dataset_card as cards
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.curation import question_only as bare
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.evaluation import rounds as qdc
from ratoon.pipelines.evaluation import verifiers as measure
from ratoon.pipelines.evaluation.policies import evals
from ratoon.pipelines.flows import notify
from ratoon.pipelines.rollouts import adaptive_consistency as asking
from ratoon.pipelines.rollouts import dynamic_sampling as waves
from ratoon.pipelines.rollouts import judge, sample, score
from ratoon.pipelines.rollouts.calibrate_votes import calibrate
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Manifests, drop_extra, several
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.tasks.propose import Made, Sampled, propose_tasks
from ratoon.pipelines.training import gate
from ratoon.pipelines.training.train import finetune, policy_of
from ratoon.progress import Task
from ratoon.store.store import Manifest

_HOPELESS = 2  # failed shards after which no other is begun: one may be that shard's fault, two are the engine's or the disk's


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
    base_row, base = stage(propose.base)(ctx)
    policy, made_by, curated = base, base_row, []
    evaluate(ctx, pool, prompts, base_row, base, 0)
    made = Made([], [])
    for iteration in range(1, ctx.recipe.run.iterations + 1):
        made = propose_tasks(ctx, [pool], made, iteration, stage, _asking(ctx, made_by, policy))
        crop = gather(ctx, [pool, *made.tasks], [prompts, *made.prompts], made_by, policy, iteration)
        if ctx.recipe.consensus is not None:
            stage(calibrate)(ctx, crop)
        linted = stage(linting.lint)(ctx.store, crop)
        stage(judge.judge_round)(ctx, crop, policy, base)
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
    asked = stage(sample.assign_suite)(ctx, pool, prompts, iteration, name, ctx.recipe.suites[name])
    crop = harvest(ctx, pool, prompts, asked, made_by, policy)
    return stage(evals)(ctx, crop, policy, name)


def evaluate_base(ctx: Context, suites: Sequence[str], iteration: int) -> None:
    """The context's own model on some suites, as the policy of `iteration`: for models that no run made."""
    pool = stage(propose.tasks)(ctx)
    prompts = stage(propose.prompts)(ctx, pool)
    made_by, policy = stage(propose.base)(ctx, None, iteration)
    for name in suites:
        evaluate(ctx, pool, prompts, made_by, policy, iteration, name)


def evaluate_newest(ctx: Context, name: str) -> None:
    """One suite on a run's base and, where there is one, its newest policy."""
    pool = stage(propose.tasks)(ctx)
    prompts = stage(propose.prompts)(ctx, pool)
    base_row, base = stage(propose.base)(ctx)
    evaluate(ctx, pool, prompts, base_row, base, 0, name)
    made = max(ctx.store.find("policy"), key=lambda m: m.iteration or 0, default=None)
    if made is not None:
        evaluate(ctx, pool, prompts, made, policy_of(ctx, made), made.iteration or 0, name)


def gather(ctx: Context, pool: Manifests, prompts: Manifests, made_by: Manifest, policy: Policy, iteration: int) -> Crop:
    """A round's training rollouts; asked in waves until enough are accepted, or enough groups of an nft round are mixed.

    Where votes label, tasks whose vote is still open are asked again.
    """
    asked, rollouts, scores = list[Manifest](), list[Manifest](), list[Manifest]()
    n_tasks: int | None = None
    while n_tasks is None or n_tasks > 0:
        weights = waves.weights(ctx, pool, rollouts, scores) if asked else None
        asked.append(stage(sample.assign_round)(ctx, pool, prompts, iteration, len(asked), n_tasks, weights))
        made, judged = _sampled(ctx, pool, prompts, asked[-1], made_by, policy, first=len(rollouts))
        rollouts, scores = rollouts + made, scores + judged
        n_tasks = waves.more(ctx, pool, asked, rollouts, scores)
    while (wave := asking.further(ctx, asked, rollouts, scores)) is not None:
        asked.append(wave)
        made, judged = _sampled(ctx, pool, prompts, wave, made_by, policy, first=len(rollouts))
        rollouts, scores = rollouts + made, scores + judged
    waves.drop_unasked(ctx, iteration, asked)
    return _crop(ctx, pool, prompts, asked, rollouts, scores)


def harvest(ctx: Context, pool: Manifest, prompts: Manifest, asked: Manifest, made_by: Manifest, policy: Policy) -> Crop:
    """Every assigned rollout sampled, verified and grouped."""
    return _crop(ctx, pool, prompts, [asked], *_sampled(ctx, pool, prompts, asked, made_by, policy))


def _asking(ctx: Context, made_by: Manifest, policy: Policy) -> Sampled:
    """What gives the rollouts of a proposer's prompts: nobody scores them."""

    def sampled(asked: Manifest, schemas: Mapping[str, str]) -> list[Manifest]:
        rollouts, _ = _sampled(ctx, None, asked, asked, made_by, policy, schemas=schemas)
        drop_extra(ctx.store, "rollouts", asked.iteration or 0, asked.shard or "", [m.artifact_id for m in rollouts])
        return rollouts

    return sampled


def _sampled(
    ctx: Context, pool: Manifests | None, prompts: Manifests, asked: Manifest, made_by: Manifest, policy: Policy,
    first: int = 0, schemas: Mapping[str, str] | None = None,
) -> tuple[list[Manifest], list[Manifest]]:  # fmt: skip
    """Rollouts and scores of every assigned rollout, a task per shard; failed shards are told together at the end.

    Without a `pool` of tasks nothing is scored.
    """
    ctx.meter.check_signal()
    purpose = (asked.shard or "").partition("+")[0]
    shards = sample.shards(ctx, asked, made_by, policy, first, schemas)
    label = f"{'round' if purpose == 'train' else purpose.removeprefix('suite-')} {asked.iteration or 0}"
    with ctx.progress.task(f"{label} · rollouts", sum(s.n_planned for s in shards), "rollout") as bar:
        live = notify.Live(f"{label}: shards sampled", len(shards))
        rollouts, scores, errors = _shards(ctx, shards, pool, prompts, bar, live)
    _raise_first(label, errors, len(shards))
    score.check_failures(ctx, label, rollouts)
    return rollouts, scores


def _crop(
    ctx: Context, pool: Manifests, prompts: Manifests, asked: list[Manifest], rollouts: list[Manifest], scores: list[Manifest]
) -> Crop:
    """What was sampled, grouped; shards that the present config no longer plans leave the live set."""
    iteration, purpose = asked[0].iteration or 0, asked[0].shard or ""
    for name, made in (("rollouts", rollouts), ("scores", scores)):
        drop_extra(ctx.store, name, iteration, purpose, [m.artifact_id for m in made])
    groups = stage(score.group)(ctx, asked, rollouts, scores)
    return Crop(iteration, several(pool), several(prompts), rollouts, scores, groups)


def _shards(
    ctx: Context,
    shards: Sequence[sample.Shard],
    pool: Manifests | None,
    prompts: Manifests,
    bar: Task,
    live: notify.Live,
) -> tuple[list[Manifest], list[Manifest], list[BaseException]]:
    """Rollouts and scores in shard order, and what failed. At most `run.workers` shards are sampled at once; each is
    scored as soon as it is there, while the others are still sampled."""
    waiting, running, scoring = deque(shards), list[Any](), list[Any]()
    rollouts: list[Manifest] = []
    errors: list[BaseException] = []
    while waiting or running:
        while waiting and len(running) < ctx.recipe.run.workers:
            running.append(_sample.submit(quote(ctx), quote(waiting.popleft()), quote(prompts), quote(bar)))
        done = next(as_completed(running))
        running.remove(done)
        made = done.result(raise_on_failure=False)
        if isinstance(made, BaseException):
            errors.append(made)
            if len(errors) == _HOPELESS or isinstance(made, Stopped):
                waiting.clear()
        else:
            rollouts.append(made)
            live.advance()
        if pool is not None and not isinstance(made, BaseException):
            scoring.append(_score.submit(quote(ctx), quote(made), quote(pool), quote(bar)))
    scores = [future.result(raise_on_failure=False) for future in scoring]
    errors += [s for s in scores if isinstance(s, BaseException)]
    good = [s for s in scores if not isinstance(s, BaseException)]
    return sorted(rollouts, key=_shard_name), sorted(good, key=_shard_name), errors


def _shard_name(manifest: Manifest) -> str:
    return manifest.shard or ""


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain stage function as a Prefect task that runs here and now."""
    named = task(function, name=function.__name__, cache_policy=NO_CACHE, persist_result=False)
    return lambda *args: named(*(quote(arg) for arg in args))


@task(name="sample", cache_policy=NO_CACHE, persist_result=False)
def _sample(ctx: Context, shard: sample.Shard, prompts: Manifests, bar: Task) -> Manifest:
    seen = 0

    def on_done(completion: Completion) -> None:
        nonlocal seen
        seen += 1
        bar.advance(1, tokens=len(completion.token_ids))

    made = sample.sample_shard(ctx, shard, prompts, on_done)
    bar.advance(shard.n_planned - seen)  # what an earlier start had sampled
    return made


@task(name="score", cache_policy=NO_CACHE, persist_result=False)
def _score(ctx: Context, rollouts: Manifest, pool: Manifests, bar: Task) -> Manifest:
    made = score.score_shard(ctx, rollouts, pool)
    bar.advance(0, kept=int(made.extra.get("passed", 0)))
    return made


def _raise_first(label: str, errors: Sequence[BaseException], of: int) -> None:
    """One failed shard stops the run after the others are done, so that nothing paid for is lost."""
    if not errors:
        return
    first = next((error for error in errors if isinstance(error, Stopped)), errors[0])
    if isinstance(first, RatoonError) and not isinstance(first, Stopped):
        which = "a shard" if len(errors) == 1 else f"{len(errors)} of {of} shards"
        first.message = f"{label}: {which} failed: {first.message}"
        first.hint = "; ".join([*filter(None, [first.hint]), "run the same command again: what is done is kept"])
    raise first
