"""A wave of proposals, and what becomes of every candidate in it: decided in one reduce, in id order. No model is asked.

By its form, by what is held out, by what there was before, and for questions over documents by what the policy says without
them. Everything here follows from stored rollouts and tasks, so a wave that is judged again comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, reply, schema
from ratoon.generators.proposers import from_documents
from ratoon.generators.proposers.candidates import VERSION, Candidate, Pool, Verdict, judge
from ratoon.generators.proposers.catalogue import PROPOSERS, ProposerConfig
from ratoon.generators.proposers.from_documents import DocumentsConfig
from ratoon.generators.proposers.prompts import Ask, Known, asked_text, rows_of, task_of
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.stats.estimators import wilson
from ratoon.pipelines.contamination import leaks
from ratoon.pipelines.runtime.context import Context
from ratoon.store.store import Manifest

_REPLY = ["rollout_id", "prompt_id", *reply.COLUMNS, "finish_reason", "error"]


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


def verdicts(ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest]) -> list[Verdict]:
    """What becomes of every candidate by its form, the held-out tasks and what there was before."""
    pool = Pool(wave.arm.novelty, _embedder(ctx), ctx.recipe.propose.max_cosine)
    given = PROPOSERS[wave.arm.method].given
    pool.add([*(given(wave.arm) if given else ())])
    pool.add([(row["task_id"], asked_text(row)) for row in (*asked.known.people, *asked.known.made)])
    candidates = _candidates(ctx, wave, asked, rollouts)
    return judge(candidates, pool, leaks.leaks(ctx.store, ctx.recipe.curation, wave.pool, candidates))


def _candidates(ctx: Context, wave: Wave, asked: Asked, rollouts: Sequence[Manifest]) -> list[Candidate]:
    read = PROPOSERS[wave.arm.method].read
    replies = reply.answered(ctx.store.read("rollouts", rollouts, _REPLY))
    found: list[Candidate] = []
    for row in replies.filter(pc.is_null(replies["error"])).sort_by("rollout_id").to_pylist():
        prompt = asked.asks[row["prompt_id"]]
        found += read(wave.arm, asked.known, prompt, row["rollout_id"], row["text"] or "", row["finish_reason"] == "length")
    return found


def answerable(ctx: Context, wave: Wave, found: Sequence[Verdict], replies: Sequence[Manifest]) -> list[Verdict]:
    """Questions that the policy answered without their passage fall; so do those that could not be asked."""
    assert isinstance(wave.arm, DocumentsConfig)
    rows = reply.answered(ctx.store.read("rollouts", replies, ["task_id", *reply.COLUMNS, "error"]))
    said: dict[str, list[str]] = {}
    for row in rows.filter(pc.is_null(rows["error"])).to_pylist():
        said.setdefault(row["task_id"], []).append(row["text"] or "")
    judged = []
    for verdict in found:
        if verdict.reason is None:
            texts = said.get(task_row(wave, verdict.candidate)["task_id"])
            share = from_documents.agreement(wave.arm, verdict.candidate, texts or ())
            if texts is None:
                verdict = Verdict(verdict.candidate, "answerable", "not_asked:closed_book")
            elif share > 0:
                verdict = Verdict(verdict.candidate, "answerable", "answerable:closed_book", share, 0.0)
        judged.append(verdict)
    return judged


def task_row(wave: Wave, candidate: Candidate) -> dict[str, Any]:
    """The row of table `tasks` that a candidate becomes."""
    return task_of(candidate, wave.arm.method, wave.arm.name, wave.iteration)


def settings(ctx: Context) -> list[Any]:
    """What beside the arm decides on a candidate; the vectors' model by its files, not where they are."""
    config = ctx.recipe.propose
    vectors = None if config.embedding is None else [embeddings.fingerprint(config.embedding), config.max_cosine]
    return [vectors, *leaks.settings(ctx.recipe.curation)]


def _embedder(ctx: Context) -> Callable[[Sequence[str]], np.ndarray] | None:
    config = ctx.recipe.propose.embedding
    return None if config is None else partial(_vectors, config)


def _vectors(config: embeddings.EmbeddingConfig, texts: Sequence[str]) -> np.ndarray:
    return embeddings.embed(texts, config)


def measures(wave: Wave, found: Sequence[Verdict]) -> pa.Table:
    """Table `measures` of a wave's candidates: their number, and the shares accepted and dropped at each step (Wilson)."""
    n = len(found)
    hits = {"accepted": sum(v.reason is None for v in found)}
    for name in ("malformed", "held_out", "not_novel", "answerable"):
        hits[name] = sum((v.reason or "").startswith(name) for v in found)
    rows = []
    for name, count in hits.items():
        low, high = wilson(count, n) if n else (None, None)
        metric, value = f"proposed_{name}_share", count / n if n else None
        rows.append({
            "scope_kind": "iteration", "scope_id": wave.purpose, "iteration": wave.iteration, "metric": metric,
            "version": VERSION, "value": value, "lo": low, "hi": high, "n": n,
        })  # fmt: skip
    return schema.from_rows("measures", rows)


def coverage(wave: Wave, known: Known, made: Sequence[dict[str, Any]]) -> pa.Table:
    """How many tasks of each kind there are after this wave: what the next one asks for follows from it."""
    counts: dict[str, int] = {}
    for row in (*known.people, *known.made, *rows_of(made)):
        kind = row["meta"].get("kind")
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
    value = ids.canonical_json(counts)
    return schema.from_rows("state", [{"iteration": wave.iteration, "step": wave.purpose, "key": "kinds", "value": value}])
