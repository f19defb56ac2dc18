"""The rounds of `ratoon run` in plain Python: the real stage functions and store, no Prefect, no torch; for faults and soaks.

Training is stood in for by a policy row that hashes what it would have been trained on. Every process here is a fork of the
caller, which has imported everything and holds one started verifier pool, so that a start costs milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ratoon import ids, schema
from ratoon.config import parse
from ratoon.engine import Policy
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.curation.curate import Crop, curate
from ratoon.pipelines.evaluation.policies import evals
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.rollouts import askers, assign, sample, score
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, drop_extra, key, run_stage
from ratoon.pipelines.tasks import pool as propose
from ratoon.store.store import Counts, Manifest


def recipe(model: Path, *, rounds: int = 2, tasks: int = 4, n: int = 2, shard_size: int = 2, iterations: int = 2) -> Recipe:
    """A recipe of `tasks` tasks a round in shards of `shard_size`, on the scripted engine."""
    pool = tasks * rounds + 8
    tree = {
        "run": {"name": "plain", "iterations": iterations, "shard_size": shard_size, "workers": 1},
        "model": {"kind": "path", "path": str(model)},
        "engine": {"kind": "scripted", "scripted": {"pass_rate": {"*": 0.6}}},
        "tasks": [{"source": "arithmetic", "name": "add", "operation": "add", "digits": [2, 2], "n": pool}],
        "splits": {"eval": 2, "probe": 0},
        "sampling": {"max_tokens": 32},
        "generate": {"tasks": tasks, "n": n},
        "filters": [{"kind": "verified"}, {"kind": "exact_dedup"}],
        "suites": {"heldout": {"n": 2, "sampling": {"temperature": 0.5, "max_tokens": 32}}},
    }
    return parse(Recipe, tree, "plain loop")


def run(root: Path, config: Recipe, pool: VerifierPool | None = None) -> None:
    """Begin or go on, to the end. `pool` is lent; without one the run starts its own."""
    with opened(root, config, quiet=True) as ctx:
        if pool is not None:
            ctx.pool = lambda: pool  # type: ignore[method-assign]
        rounds(ctx)


def rounds(ctx: Context) -> None:
    """What `pipelines.improve.improve` does, stage by stage; the suite on the base and on the last policy."""
    pool = propose.tasks(ctx)
    prompts = propose.prompts(ctx, pool)
    made_by, policy = records.base(ctx)
    suite = ctx.recipe.suites["heldout"]
    last = ctx.recipe.run.iterations
    for iteration in range(last + 1):
        if iteration:
            asked = askers.assign_round(ctx, pool, prompts, iteration)
            kept = curate(ctx.store, ctx.recipe, harvest(ctx, pool, prompts, asked, made_by, policy))
            made_by, policy = stand_in(ctx, kept, policy, iteration)
        if iteration in (0, last):
            asked = assign.assign_suite(ctx, pool, prompts, iteration, "heldout", suite)
            evals(ctx, harvest(ctx, pool, prompts, asked, made_by, policy), policy, "heldout")


def harvest(ctx: Context, pool: Manifest, prompts: Manifest, asked: Manifest, made_by: Manifest, policy: Policy) -> Crop:
    """Shard after shard: sampled, verified; then grouped."""
    iteration, purpose = asked.iteration or 0, asked.shard or ""
    rollouts = [sample.sample_shard(ctx, shard, prompts) for shard in sample.shards(ctx, asked, made_by, policy)]
    scores = [score.score_shard(ctx, made, pool) for made in rollouts]
    for name, made in (("rollouts", rollouts), ("scores", scores)):
        drop_extra(ctx.store, name, iteration, purpose, [m.artifact_id for m in made])
    groups = score.group(ctx, asked, rollouts, scores)
    return Crop(iteration, [pool], [prompts], rollouts, scores, groups)


def stand_in(ctx: Context, kept: Manifest, last: Policy, iteration: int) -> tuple[Manifest, Policy]:
    """The policy that training on `kept` would make, without the training."""
    policy_id = ids.policy_id(last.policy_id, kept.content_digest, {"stand-in": True}, iteration)
    row = {"policy_id": policy_id, "parent_policy_id": last.policy_id, "kind": "full", "iteration": iteration}
    table = schema.from_rows("policies", [row])
    wanted = key("policy", iteration, config=policy_id, inputs=[kept])
    made = run_stage(ctx.store, wanted, lambda: Built({"policies": table}, Counts(1, 1)))
    return made, Policy(policy_id, last.path, iteration, "full")


def forked(work: Callable[[], Any]) -> int:
    """`work` in a fork of this process: its exit status, or minus the signal that ended it; what it raises is printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_self() -> None:
    """What `kill -9` does, at exactly this line."""
    os.kill(os.getpid(), signal.SIGKILL)


def asked(root: Path) -> list[str]:
    """Every request id the engines of a run were sent, in order."""
    path = root / "logs" / "requests.log"
    return path.read_text().split() if path.exists() else []


def slots(manifests: Sequence[Manifest]) -> dict[tuple[str, int | None, str | None], tuple[str, str]]:
    """What artifacts hold, whoever made them and when: id and content digest by stage, round and shard."""
    return {(m.stage, m.iteration, m.shard): (m.artifact_id, m.content_digest) for m in manifests}
