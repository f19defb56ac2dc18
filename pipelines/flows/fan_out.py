"""One Prefect task per shard and stage: shards sampled side by side, each scored as soon as it is there."""

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
from ratoon.pipelines.flows import notify
from ratoon.pipelines.rollouts import sample, score
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Manifests
from ratoon.progress import Task
from ratoon.store.store import Manifest

_HOPELESS = 2  # failed shards after which no other is begun: one may be that shard's fault, two are the engine's or the disk's


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain stage function as a Prefect task that runs here and now."""
    named = task(function, name=function.__name__, cache_policy=NO_CACHE, persist_result=False)
    return lambda *args: named(*(quote(arg) for arg in args))


def sampled(
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
