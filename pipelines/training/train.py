"""From datasets to a policy: which rows, from which weights, in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.engine import Policy
from ratoon.pipelines.recipe.budget import Spent
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.pipelines.training import gate
from ratoon.sft.data import dataset
from ratoon.sft.models import policy as policies
from ratoon.sft.training import job as jobs
from ratoon.sft.training import launch
from ratoon.sft.training.selection import training_rows
from ratoon.store.store import Counts, Manifest


def finetune(ctx: Context, curated: Sequence[Manifest], last: Policy, base: Policy, iteration: int) -> tuple[Manifest, Policy]:
    """The policy of one round, trained on this round's dataset or all so far, from the base or the last policy.

    `curated` are the curations so far, oldest first, and the gate let the last one through. Overrides of the gate are facts of
    the policy's manifest.
    """
    train = ctx.recipe.train.in_round(iteration)
    waved = gate.overridden(ctx.store, iteration)
    if "examples" in waved:
        train = train.model_copy(update={"min_examples": 1})
    seed = ids.derive_seed(ctx.recipe.run.seed, "train", iteration)
    folders = [dataset.folder_at(ctx.store.root, m.extra["folder"]) for m in curated]
    job = jobs.plan(
        train,
        root=ctx.store.root,
        base=base,
        last=last,
        datasets=folders,
        seed=seed,
        iteration=iteration,
        tokenizer_digest=ctx.renderer.tokenizer_digest,
        template_digest=ctx.renderer.template_digest,
    )
    used = curated[-1:] if train.data == "this" else curated
    wanted = key("policy", iteration, config={"train": jobs.identity(train), "policy": job.policy_id}, inputs=used)
    manifest = run_stage(ctx.store, wanted, lambda: _train(ctx, job, waved))
    if not Path(job.out).exists():  # removed by hand, as a message about damaged weights advises
        _train(ctx, job, waved)
    for folder in policies.superseded(ctx.store.root / "policies", job.policy_id, iteration):
        shutil.rmtree(folder)  # the next round starts from this policy's
    return manifest, policy_of(ctx, manifest)


def _train(ctx: Context, job: jobs.Job, waved: Sequence[str]) -> Built:
    """The engine gives the device up first: training has it to itself."""
    ctx.before_training()
    ctx.meter.check()
    if ctx.recipe.budget.max_cost is not None:
        ctx.meter.fits(Spent(trained=_planned_tokens(job)))
    for line in launch.start_notes(job):
        ctx.progress.say(line)
    with ctx.progress.task(f"round {job.iteration} · train", None, "step") as bar:

        def on_step(event: launch.Progress) -> None:
            bar.update(event.step, event.total, event.tokens_per_second)
            ctx.meter.check()  # a stop leaves the last checkpoint, from which the next start goes on

        done = launch.train(job, on_step, lambda pid: ctx.children.started(pid, "training"))
    if lost := policies.lost_update(done.manifest):
        ctx.progress.say(f"warning: round {job.iteration}: {lost}")
    ctx.meter.trained(done.trained_tokens)
    row = done.manifest.row(ctx.relative(done.folder))
    cost = ctx.recipe.budget.prices.cost(0, 0, done.trained_tokens)
    counts = Counts(1, 1, trained_tokens=done.trained_tokens, seconds=done.seconds, cost=cost)
    facts: dict[str, Any] = {
        "steps": done.steps,
        "loss": done.loss,
        "examples": done.manifest.examples,
        "update_kept": done.manifest.update_kept,
    }
    if waved:
        facts["overridden"] = list(waved)
    if job.method == "nft":
        facts |= {
            "logprob_gap": done.manifest.logprob_gap,
            "dropped": done.manifest.dropped,
            "start_kl": done.manifest.start_kl,
        }
    return Built({"policies": schema.from_rows("policies", [row]), **launch.records(done.folder)}, counts, facts)


def _planned_tokens(job: jobs.Job) -> int:
    """The tokens that training will see: prompts and completions of every epoch."""
    rows = training_rows(job).rows
    lengths = pc.add(pc.list_value_length(rows["prompt_token_ids"]), pc.list_value_length(rows["token_ids"]))
    return int(pc.sum(lengths).as_py() or 0) * job.config.epochs


def policy_of(ctx: Context, manifest: Manifest) -> Policy:
    """The engine's view of a policy row; its folder is checked against its own manifest."""
    row = ctx.store.read("policies", [manifest]).to_pylist()[0]
    folder = ctx.absolute(row["uri"])
    base = Path(ctx.model_folder) if row["kind"] == "lora" else None
    return policies.as_policy(policies.verify_policy(folder), folder, base)
