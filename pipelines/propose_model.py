"""Tasks that the policy proposes: what it is asked, what of its replies is new, what that becomes. Prefect is not known here.

A wave is one arm of `[propose]` asked once. Its artifacts: `ask` (prompts and assignments), `rollouts` by shards as any others,
for questions over documents a second `ask` without the passages, and `propose`: one reduce over the whole wave in id order,
with a decision on every candidate. A wave stands on all tasks before it, so it is found again exactly while those are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.generators import prompts as prompting
from ratoon.generators.engines import TAKES_SCHEMA
from ratoon.generators.tasks import from_documents
from ratoon.generators.tasks.asks import Ask, Known, asked_text, key_of, rows_of, task_of
from ratoon.generators.tasks.candidates import VERSION, Candidate, Pool, Verdict, decisions, judge
from ratoon.generators.tasks.from_documents import DocumentsConfig
from ratoon.generators.tasks.proposers import PROPOSERS, ProposerConfig
from ratoon.metrics import embeddings
from ratoon.metrics.estimators import wilson
from ratoon.pipelines import leaks, propose
from ratoon.pipelines.context import Context
from ratoon.pipelines.stage import Built, key, run_stage, with_descendants
from ratoon.store import Counts, Manifest

_TASK = ["task_id", "problem_key", "family", "messages", "parent_ids", "split", "meta"]
_REPLY = ["rollout_id", "prompt_id", "text", "finish_reason", "error"]


@dataclass(frozen=True)
class Wave:
    """One arm asked once in one round, on top of the tasks there were: those of the recipe and those proposed before."""

    arm: ProposerConfig
    iteration: int
    number: int
    pool: Sequence[Manifest]
    made: Sequence[Manifest]

    @property
    def purpose(self) -> str:
        return f"propose-{self.arm.name}-{self.number}"

    @property
    def before(self) -> list[Manifest]:
        return [*self.pool, *self.made]


@dataclass(frozen=True)
class Asked:
    """What a wave asks: the artifact, its prompts by what they say, and what it knew."""

    manifest: Manifest
    asks: dict[str, Ask]
    known: Known

    @property
    def schemas(self) -> dict[str, str]:
        """JSON schemas by prompt id."""
        return {prompt: ask.schema for prompt, ask in self.asks.items() if ask.schema is not None}


def ask(ctx: Context, wave: Wave) -> Asked:
    """The wave's prompts, rendered and assigned; files that could not be read are its failures."""
    arm, proposer = wave.arm, PROPOSERS[wave.arm.method]
    known = _known(ctx, wave)
    sampling = ctx.sampling(ctx.recipe.propose.sampling)
    propose.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    seed = ids.derive_seed(ctx.recipe.run.seed, wave.purpose, wave.iteration)
    found = {a.key: a for a in proposer.asks(arm, known, seed, _constrained(ctx, arm))}
    config = {"arm": semantic(arm), "seed": seed, "sampling": sampling.sampling_id, "schemas": _constrained(ctx, arm),
              "template": ctx.renderer.template_digest, "tokenizer": ctx.renderer.tokenizer_digest}  # fmt: skip
    versions = {"proposer": VERSION} | ({"material": known.material.version} if known.material is not None else {})
    wanted = key("ask", wave.iteration, wave.purpose, config=config, inputs=wave.before, versions=versions)

    def build() -> Built:
        rows = [(a.task_id, [dict(m) for m in a.messages], a.n, a.kind) for a in found.values()]
        return _rendered(ctx, wave, proposer.role, rows, sampling.sampling_id, _failures(known))

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
              "novelty": _novelty(ctx),
              "template": ctx.renderer.template_digest, "tokenizer": ctx.renderer.tokenizer_digest}  # fmt: skip
    wanted = key("ask", wave.iteration, purpose, config=config, inputs=[asked.manifest, *rollouts, *wave.before])
    tasks = {v.candidate.subject_id: _task(wave, v.candidate) for v in _verdicts(ctx, wave, asked, rollouts) if not v.reason}
    ctx.plant(schema.from_rows("tasks", tasks.values()))

    def build() -> Built:
        head = _head(ctx)
        rows = [
            (task["task_id"], [*head, {"role": "user", "content": asked_text(row)}], arm.closed_book, "closed_book")
            for task, row in zip(tasks.values(), rows_of(list(tasks.values())), strict=True)
        ]
        return _rendered(ctx, wave, "closed_book", rows, sampling.sampling_id, [])

    return run_stage(ctx.store, wanted, build)


def accept(
    ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest], closed: Manifest | None, replies: Sequence[Manifest]
) -> Manifest:
    """The wave's tasks, a decision on every candidate, what was measured; `closed` and `replies` are of the second asking."""
    config = {"arm": semantic(wave.arm), "novelty": _novelty(ctx)}
    inputs = [asked.manifest, *rollouts, *([closed] if closed else []), *replies, *wave.before]
    wanted = key("propose", wave.iteration, wave.purpose, config=config, inputs=inputs, versions={"proposer": VERSION})

    def build() -> Built:
        verdicts = _verdicts(ctx, wave, asked, rollouts)
        if closed is not None:
            verdicts = _answerable(ctx, wave, verdicts, closed, replies)
        made = [_task(wave, v.candidate) for v in verdicts if v.reason is None]
        failed = sum(m.counts.failed for m in rollouts)
        tables = {
            "tasks": schema.from_rows("tasks", made),
            "decisions": decisions(verdicts, ids.content_id("curation", wanted.artifact_id)),
            "measures": _measures(wave, verdicts),
            "state": _coverage(wave, asked.known, made),
        }
        counts = Counts(len(verdicts) + failed, len(made), dropped=len(verdicts) - len(made), failed=failed)
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
    return arm.constrained if arm.constrained is not None else ctx.recipe.engine.kind in TAKES_SCHEMA


def _known(ctx: Context, wave: Wave) -> Known:
    """Training tasks only: what is held out is shown to nobody."""
    people = ctx.store.read("tasks", wave.pool, _TASK)
    people = people.filter(pc.equal(people["split"], "train"))
    made = ctx.store.read("tasks", wave.made, _TASK)
    load = PROPOSERS[wave.arm.method].load
    return Known(rows_of(people.to_pylist()), rows_of(made.to_pylist()), load(wave.arm) if load else None)


def _failures(known: Known) -> list[dict[str, Any]]:
    return [row | {"stage": "ask"} for row in known.material.failures] if known.material is not None else []


def _rendered(
    ctx: Context, wave: Wave, role: str, rows: Sequence[tuple[str | None, list[dict[str, str]], int, str]], sampling_id: str,
    failures: Sequence[dict[str, Any]],
) -> Built:  # fmt: skip
    """Tables `prompts`, `assignments` and `failures` of (task, messages, times asked, kind)."""
    rendered = ctx.renderer.render([messages for _, messages, _, _ in rows])
    template = ctx.renderer.template_digest
    made = {
        ids.prompt_id(task_id or "", role, template, token_ids): (task_id, messages, token_ids, n, kind)
        for (task_id, messages, n, kind), token_ids in zip(rows, rendered, strict=True)
    }
    tables = {
        "prompts": schema.from_rows(
            "prompts",
            [
                {"prompt_id": prompt_id, "task_id": task_id, "role": role, "template_digest": template, "messages": messages,
                 "token_ids": token_ids}
                for prompt_id, (task_id, messages, token_ids, _, _) in made.items()
            ],
        ),
        "assignments": schema.from_rows(
            "assignments",
            [
                {"iteration": wave.iteration, "task_id": task_id, "prompt_id": prompt_id, "sampling_id": sampling_id,
                 "n_planned": n, "first_sample": 0, "purpose": wave.purpose, "arm": f"{wave.arm.name}:{kind}"}
                for prompt_id, (task_id, _, _, n, kind) in made.items()
            ],
        ),
        "failures": schema.from_rows("failures", failures),
    }  # fmt: skip
    return Built(tables, Counts(len(made) + len(failures), len(made), failed=len(failures)))


def _by_prompt(ctx: Context, manifest: Manifest, found: dict[str, Ask]) -> dict[str, Ask]:
    rows = ctx.store.read("prompts", [manifest], ["prompt_id", "task_id", "messages"]).to_pylist()
    return {row["prompt_id"]: found[key_of(row["messages"], row["task_id"])] for row in rows}


def _head(ctx: Context) -> list[dict[str, str]]:
    """What stands before every task that a solver is asked."""
    prompt = ctx.recipe.prompt
    head = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    for user, assistant in prompt.few_shot:
        head += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return head


def _verdicts(ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest]) -> list[Verdict]:
    """What becomes of every candidate by its form, the held-out tasks and what there was before."""
    pool = Pool(wave.arm.novelty, _embedder(ctx), ctx.recipe.propose.max_cosine)
    given = PROPOSERS[wave.arm.method].given
    pool.add([*(given(wave.arm) if given else ())])
    pool.add([(row["task_id"], asked_text(row)) for row in (*asked.known.people, *asked.known.made)])
    candidates = _candidates(ctx, wave, asked, rollouts)
    return judge(candidates, pool, leaks.leaks(ctx.store, ctx.recipe.curation, wave.pool, candidates))


def _candidates(ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest]) -> list[Candidate]:
    read = PROPOSERS[wave.arm.method].read
    replies = ctx.store.read("rollouts", rollouts, _REPLY)
    found: list[Candidate] = []
    for row in replies.filter(pc.is_null(replies["error"])).sort_by("rollout_id").to_pylist():
        prompt = asked.asks[row["prompt_id"]]
        found += read(wave.arm, asked.known, prompt, row["rollout_id"], row["text"] or "", row["finish_reason"] == "length")
    return found


def _answerable(
    ctx: Context, wave: Wave, verdicts: Sequence[Verdict], closed: Manifest, replies: Sequence[Manifest]
) -> list[Verdict]:
    """Questions that the policy answered without their passage fall; so do those that could not be asked."""
    assert isinstance(wave.arm, DocumentsConfig)
    rows = ctx.store.read("rollouts", replies, ["task_id", "text", "error"])
    said: dict[str, list[str]] = {}
    for row in rows.filter(pc.is_null(rows["error"])).to_pylist():
        said.setdefault(row["task_id"], []).append(row["text"] or "")
    judged = []
    for verdict in verdicts:
        if verdict.reason is None:
            texts = said.get(_task(wave, verdict.candidate)["task_id"])
            share = from_documents.agreement(wave.arm, verdict.candidate, texts or ())
            if texts is None:
                verdict = Verdict(verdict.candidate, "answerable", "not_asked:closed_book")
            elif share > 0:
                verdict = Verdict(verdict.candidate, "answerable", "answerable:closed_book", share, 0.0)
        judged.append(verdict)
    return judged


def _task(wave: Wave, candidate: Candidate) -> dict[str, Any]:
    return task_of(candidate, wave.arm.method, wave.arm.name, wave.iteration)


def _novelty(ctx: Context) -> list[Any]:
    """What beside the arm decides whether a candidate is new: the vectors' model by its files, not where they are."""
    config = ctx.recipe.propose
    vectors = None if config.embedding is None else [embeddings.fingerprint(config.embedding), config.max_cosine]
    return [vectors, *leaks.settings(ctx.recipe.curation)]


def _embedder(ctx: Context) -> Any:
    config = ctx.recipe.propose.embedding
    return None if config is None else partial(_vectors, config)


def _vectors(config: embeddings.EmbeddingConfig, texts: Sequence[str]) -> np.ndarray:
    return embeddings.embed(texts, config)


def _measures(wave: Wave, verdicts: Sequence[Verdict]) -> pa.Table:
    """Of the candidates of a wave: how many, and the share accepted and dropped at each step, with Wilson's interval."""
    n = len(verdicts)
    hits = {"accepted": sum(v.reason is None for v in verdicts)}
    for name in ("malformed", "held_out", "not_novel", "answerable"):
        hits[name] = sum((v.reason or "").startswith(name) for v in verdicts)
    rows = []
    for name, count in hits.items():
        low, high = wilson(count, n) if n else (None, None)
        metric, value = f"proposed_{name}_share", count / n if n else None
        rows.append({
            "scope_kind": "iteration", "scope_id": wave.purpose, "iteration": wave.iteration, "metric": metric,
            "version": VERSION, "value": value, "lo": low, "hi": high, "n": n,
        })  # fmt: skip
    return schema.from_rows("measures", rows)


def _coverage(wave: Wave, known: Known, made: Sequence[dict[str, Any]]) -> pa.Table:
    """How many tasks of each kind there are after this wave: what the next one asks for follows from it."""
    counts: dict[str, int] = {}
    for row in (*known.people, *known.made, *rows_of(made)):
        kind = row["meta"].get("kind")
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
    value = ids.canonical_json(counts)
    return schema.from_rows("state", [{"iteration": wave.iteration, "step": wave.purpose, "key": "kinds", "value": value}])
