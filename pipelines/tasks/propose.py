"""Tasks that the policy proposes: what it is asked, what of its replies is new, what that becomes. Prefect is not known here.

A wave is one arm of `[propose]` asked once. Its artifacts: `ask` (prompts and assignments), `rollouts` by shards as any others,
for questions over documents a second `ask` without the passages, and `propose`: one reduce over the whole wave in id order,
with a decision on every candidate. A wave stands on all tasks before it, so it is found again exactly while those are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.errors import Stopped
from ratoon.generators import prompts as prompting
from ratoon.generators.engines import ENGINES
from ratoon.generators.proposers.candidates import VERSION, Candidate, decisions
from ratoon.generators.proposers.catalogue import PROPOSERS, ProposerConfig
from ratoon.generators.proposers.from_documents import DocumentsConfig
from ratoon.generators.proposers.prompts import Ask, Known, key_of, rows_of
from ratoon.messages import opening, user
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, key, run_stage, with_descendants
from ratoon.pipelines.tasks.accept import Asked, Wave, answerable, coverage, measures, settings, task_row, verdicts
from ratoon.store.store import Counts, Manifest

Sampled = Callable[[Manifest, Mapping[str, str]], list[Manifest]]
Stage = Callable[[Callable[..., Any]], Callable[..., Any]]

_TASK = ["task_id", "problem_key", "family", "messages", "parent_ids", "split", "meta"]


class _Prompt(NamedTuple):
    """What one prompt says, of which task and after which rollout, how often it is asked and for what."""

    messages: list[dict[str, str]]
    n: int
    kind: str
    task_id: str | None = None
    parent: str | None = None


def ask(ctx: Context, wave: Wave) -> Asked:
    """The wave's prompts, rendered and assigned; files that could not be read are its failures."""
    arm, proposer = wave.arm, PROPOSERS[wave.arm.method]
    known = _known(ctx, wave)
    sampling = ctx.sampling(ctx.recipe.propose.sampling)
    records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    seed = ids.derive_seed(ctx.recipe.run.seed, wave.purpose, wave.iteration)
    found = {a.key: a for a in proposer.asks(arm, known, seed, _constrained(ctx, arm))}
    config = {"arm": semantic(arm), "seed": seed, "sampling": sampling.sampling_id, "schemas": _constrained(ctx, arm),
              "template": ctx.renderer.template_digest, "tokenizer": ctx.renderer.tokenizer_digest}  # fmt: skip
    versions = {"proposer": VERSION} | ({"material": known.material.version} if known.material is not None else {})
    inputs = [*wave.before, *(_voted(ctx, wave) if proposer.votes else ())]
    wanted = key("ask", wave.iteration, wave.purpose, config=config, inputs=inputs, versions=versions)

    def build() -> Built:
        said = [_Prompt([dict(m) for m in a.messages], a.n, a.kind, a.task_id) for a in found.values()]
        return _rendered(ctx, wave, proposer.role, said, sampling.sampling_id, _failures(known))

    manifest = run_stage(ctx.store, wanted, build)
    return Asked(manifest, _by_prompt(ctx, manifest, found), known)


def ask_without_passages(ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest]) -> Manifest | None:
    """For questions over documents: each that is new so far, asked of the policy without its passage; else null."""
    arm = wave.arm
    if not isinstance(arm, DocumentsConfig) or arm.closed_book == 0:
        return None
    sampling = ctx.sampling(ctx.recipe.propose.sampling)
    purpose = _closed(wave)
    config = {"arm": semantic(arm), "sampling": sampling.sampling_id, "prompt": semantic(ctx.recipe.prompt),
              "novelty": settings(ctx),
              "template": ctx.renderer.template_digest, "tokenizer": ctx.renderer.tokenizer_digest}  # fmt: skip
    wanted = key("ask", wave.iteration, purpose, config=config, inputs=[asked.manifest, *rollouts, *wave.before])
    new = [v.candidate for v in verdicts(ctx, wave, asked, rollouts) if v.reason is None]
    ctx.plant(schema.from_rows("tasks", [task_row(wave, candidate) for candidate in new]))
    said = [_Prompt(_bare(ctx, c), arm.closed_book, "closed_book", task_row(wave, c)["task_id"], c.rollout_id) for c in new]
    return run_stage(ctx.store, wanted, lambda: _rendered(ctx, wave, "closed_book", said, sampling.sampling_id, []))


def accept(
    ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest], closed: Manifest | None, replies: Sequence[Manifest]
) -> Manifest:
    """The wave's tasks, a decision on every candidate, what was measured; `closed` and `replies` are of the second asking."""
    config = {"arm": semantic(wave.arm), "novelty": settings(ctx)}
    inputs = [asked.manifest, *rollouts, *([closed] if closed else []), *replies, *wave.before]
    wanted = key("propose", wave.iteration, wave.purpose, config=config, inputs=inputs, versions={"proposer": VERSION})

    def build() -> Built:
        found = verdicts(ctx, wave, asked, rollouts)
        if closed is not None:
            found = answerable(ctx, wave, found, replies)
        made = [task_row(wave, v.candidate) for v in found if v.reason is None]
        failed = sum(m.counts.failed for m in rollouts)
        tables = {
            "tasks": schema.from_rows("tasks", made),
            "decisions": decisions(found, ids.content_id("curation", wanted.artifact_id)),
            "measures": measures(wave, found),
            "state": coverage(wave, asked.known, made),
        }
        counts = Counts(len(found) + failed, len(made), dropped=len(found) - len(made), failed=failed)
        return Built(tables, counts)

    manifest = run_stage(ctx.store, wanted, build)
    ctx.plant(ctx.store.read("tasks", [manifest]))
    return manifest


def prompts(ctx: Context, accepted: Manifest) -> Manifest:
    """The accepted tasks as the solver is asked them."""
    recipe, renderer = ctx.recipe, ctx.renderer
    config = semantic(recipe.prompt) | {"template": renderer.template_digest, "tokenizer": renderer.tokenizer_digest}

    def build() -> Built:
        rows = ctx.store.read("tasks", [accepted])
        made, failures = prompting.build(rows, renderer, recipe.prompt.system, recipe.prompt.few_shot)
        return Built({"prompts": made, "failures": failures}, Counts(rows.num_rows, made.num_rows, failed=failures.num_rows))

    return run_stage(ctx.store, key("prompts", accepted.iteration, accepted.shard, config=config, inputs=[accepted]), build)


def drop_unplanned(ctx: Context, iteration: int, waves: Sequence[Wave]) -> None:
    """Waves of a round that the present recipe does not ask leave the live set, with all that was made from them."""
    planned = {name for wave in waves for name in (wave.purpose, _closed(wave))}
    live = ctx.store.live()
    extra = {
        id for id, m in live.items()
        if m.iteration == iteration and m.stage in ("ask", "propose") and m.shard not in planned
    }  # fmt: skip
    if extra:
        ctx.store.commit(add=[], remove=sorted(with_descendants(live, extra)), why=f"propose {iteration}: no longer planned")


def _closed(wave: Wave) -> str:
    return f"closed-{wave.arm.name}-{wave.number}"


def _constrained(ctx: Context, arm: ProposerConfig) -> bool:
    return arm.constrained if arm.constrained is not None else ENGINES[ctx.recipe.engine.kind].takes_schema


def _known(ctx: Context, wave: Wave) -> Known:
    """Training tasks only: what is held out is shown to nobody."""
    people = ctx.store.read("tasks", wave.pool, _TASK)
    people = people.filter(pc.equal(people["split"], "train"))
    made = ctx.store.read("tasks", wave.made, _TASK)
    proposer = PROPOSERS[wave.arm.method]
    material = proposer.load(wave.arm) if proposer.load else None
    votes = (
        ctx.store.read("groups", _voted(ctx, wave), ["task_id", "vote", "vote_status", "label_source"])
        if proposer.votes
        else None
    )
    return Known(rows_of(people.to_pylist()), rows_of(made.to_pylist()), material, {} if votes is None else _accepted(votes))


def _voted(ctx: Context, wave: Wave) -> list[Manifest]:
    """The groups of the training rounds before this one."""
    return [m for m in ctx.store.find("groups") if m.shard == "train" and (m.iteration or 0) < wave.iteration]


def _accepted(groups: pa.Table) -> dict[str, str]:
    """What a task's vote said, where it was accepted."""
    mine = groups.filter(pc.and_(pc.equal(groups["vote_status"], "accepted"), pc.equal(groups["label_source"], "consensus")))
    return dict(zip(mine["task_id"].to_pylist(), mine["vote"].to_pylist(), strict=True))


def _failures(known: Known) -> list[dict[str, Any]]:
    return [row | {"stage": "ask"} for row in known.material.failures] if known.material is not None else []


def _rendered(
    ctx: Context, wave: Wave, role: str, said: Sequence[_Prompt], sampling_id: str, failures: Sequence[dict[str, Any]]
) -> Built:
    """Tables `prompts`, `assignments` and `failures` of what is asked."""
    rendered = ctx.renderer.render([prompt.messages for prompt in said])
    template, prompts, assignments = ctx.renderer.template_digest, [], []
    for prompt, token_ids in zip(said, rendered, strict=True):
        prompt_id = ids.prompt_id(prompt.task_id or "", role, template, token_ids, prompt.parent)
        prompts.append({
            "prompt_id": prompt_id, "task_id": prompt.task_id, "parent_rollout_id": prompt.parent, "role": role,
            "template_digest": template, "messages": prompt.messages, "token_ids": token_ids,
        })  # fmt: skip
        assignments.append({
            "iteration": wave.iteration, "task_id": prompt.task_id, "prompt_id": prompt_id, "sampling_id": sampling_id,
            "n_planned": prompt.n, "first_sample": 0, "purpose": wave.purpose, "arm": f"{wave.arm.name}:{prompt.kind}",
        })  # fmt: skip
    tables = {
        "prompts": schema.from_rows("prompts", prompts),
        "assignments": schema.from_rows("assignments", assignments),
        "failures": schema.from_rows("failures", failures),
    }
    return Built(tables, Counts(len(prompts) + len(failures), len(prompts), failed=len(failures)))


def _by_prompt(ctx: Context, manifest: Manifest, found: dict[str, Ask]) -> dict[str, Ask]:
    rows = ctx.store.read("prompts", [manifest], ["prompt_id", "task_id", "messages"]).to_pylist()
    return {row["prompt_id"]: found[key_of(row["messages"], row["task_id"])] for row in rows}


def _bare(ctx: Context, candidate: Candidate) -> list[dict[str, str]]:
    """A question without its passage, after all that stands before every task of a solver."""
    prompt = ctx.recipe.prompt
    return [*opening(prompt.system, prompt.few_shot), user(candidate.text)]


class Made(NamedTuple):
    """Tasks that models proposed in the rounds so far, and their prompts, artifact by artifact."""

    tasks: list[Manifest]
    prompts: list[Manifest]


def propose_tasks(
    ctx: Context, given: Sequence[Manifest], before: Made, iteration: int, stage: Stage, sampled: Sampled
) -> Made:
    """Add the tasks of this round's arms to `before`. `sampled(asked, schemas)` gives the rollouts of an `ask` artifact."""
    tasks, asked, waves = list(before.tasks), list(before.prompts), list[Wave]()
    for arm in ctx.recipe.propose.arms:
        for number in range(arm.waves):
            wave = Wave(arm, iteration, number, tuple(given), tuple(tasks))
            made = _wave(ctx, wave, stage, sampled)
            waves.append(wave)
            tasks.append(made)
            asked.append(stage(prompts)(ctx, made))
    drop_unplanned(ctx, iteration, waves)
    _enough(ctx, iteration, tasks[len(before.tasks) :])
    return Made(tasks, asked)


def _enough(ctx: Context, iteration: int, made: Sequence[Manifest]) -> None:
    """Raise Stopped where a round's arms gave fewer tasks than the recipe wants."""
    new, least = sum(m.counts.rows_out for m in made), ctx.recipe.propose.min_tasks
    if made and new < least:
        planned = sum(m.counts.rows_planned for m in made)
        reasons = Counter(ctx.store.read("decisions", made, ["reason"])["reason"].to_pylist())
        worst = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3) if reason is not None) or "replies failed"
        raise Stopped(
            f"round {iteration}: proposers gave {new} tasks of {planned} candidates, propose.min_tasks is {least} ({worst})",
            "look at their replies (table rollouts, role 'proposer'), mend [propose], or ask a stronger model",
        )


def _wave(ctx: Context, wave: Wave, stage: Stage, sampled: Sampled) -> Manifest:
    asked = stage(ask)(ctx, wave)
    rollouts = sampled(asked.manifest, asked.schemas)
    closed = stage(ask_without_passages)(ctx, wave, asked, rollouts)
    replies = sampled(closed, {}) if closed is not None else []
    made: Manifest = stage(accept)(ctx, wave, asked, rollouts, closed, replies)
    return made
