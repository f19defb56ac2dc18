"""Lint numbers of every rollout and sums that merge, an artifact a shard: each text is read once, and decided on ever after.

What filters may look at (`filters/lint.py`) and what the cheap tier sums (`pipelines/evaluation/rounds.py`) are these same
rows. No Prefect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import hashes, reply, schema
from ratoon.messages import last_texts
from ratoon.metrics.qdc import complexity, tiers
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.sketches import Sketch
from ratoon.metrics.text import lexical_diversity as lexical
from ratoon.metrics.text import lint as numbers
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.shard_rows import Lookup
from ratoon.pipelines.runtime.stage import Built, drop_extra, key, run_stage
from ratoon.store.store import Counts, Manifest, Store

VERSIONS = {
    "lint": numbers.VERSION,
    "complexity": complexity.VERSION,
    "lexical": lexical.VERSION,
    "sketches": sketches.VERSION,
    "digests": hashes.VERSION,
}


def lint(store: Store, crop: Crop) -> list[Manifest]:
    """Lint numbers and mergeable sums of every shard of a round's rollouts, an artifact a shard."""
    lookup = Lookup(store)
    manifests = [_lint_shard(store, lookup, rollouts, crop.pool) for rollouts in crop.rollouts]
    drop_extra(store, "lint", crop.iteration, crop.purpose, [m.artifact_id for m in manifests])
    return manifests


def _lint_shard(store: Store, lookup: Lookup, rollouts: Manifest, pool: Sequence[Manifest]) -> Manifest:
    artifact_key = key("lint", rollouts.iteration, rollouts.shard, inputs=[rollouts], versions=VERSIONS)

    def build() -> Built:
        rows = store.read("rollouts", [rollouts], ["rollout_id", "task_id", *reply.COLUMNS, "finish_reason", "token_ids"])
        table, sums = _linted(rows, _asked(lookup, pool, rows))
        sums_table = sketches.table(sums, "shard", rollouts.shard or "", rollouts.iteration)
        return Built({"lint": table, "sketches": sums_table}, Counts(rows.num_rows, table.num_rows))

    return run_stage(store, artifact_key, build)


def _asked(lookup: Lookup, pool: Sequence[Manifest], rows: pa.Table) -> pa.Table:
    """task_id, prompt (what the last user turn says) and answer of the shard's tasks."""
    task_ids = pc.unique(rows["task_id"])
    parts = [lookup.rows("tasks", m, "task_id", task_ids, ["task_id", "messages", "answer"]) for m in pool]
    tasks = pa.concat_tables(parts)
    prompts = last_texts(tasks["messages"], "user")
    return pa.table({"task_id": tasks["task_id"], "prompt": prompts, "answer": tasks["answer"]})


def _linted(rows: pa.Table, tasks: pa.Table) -> tuple[pa.Table, list[Sketch]]:
    """Table `lint` of some rollouts, in their order, and their sketches: of the whole reply, but empty and refusing answers."""
    text = rows["text"]
    at = pc.index_in(rows["task_id"], value_set=tasks["task_id"].combine_chunks())
    leaked = numbers.leaked(tasks["prompt"].to_pylist(), tasks["answer"].to_pylist())
    columns: dict[str, Any] = {
        **_columns(numbers.lint(text)),
        **_of_answers(rows),
        **_columns(complexity.structure(text)),
        **_columns(complexity.behaviours(text)),
        **_digests(text),
        "rollout_id": rows["rollout_id"],
        "version": pa.repeat(numbers.VERSION, rows.num_rows),
        "echo": numbers.echo(text, tasks["prompt"].combine_chunks().take(at)),
        "leaked": leaked.take(at),
    }
    table = schema.from_columns("lint", columns, rows.num_rows)
    facts = table.append_column("task_id", rows["task_id"]).append_column("finish_reason", rows["finish_reason"])
    facts = facts.append_column("n_tokens", pc.list_value_length(rows["token_ids"]))
    return table, [*tiers.sketch(facts), *lexical.gram_sketches(text), lexical.text_sketch(text)]


def _of_answers(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns that are asked of an answer alone, `empty` and `refusal`; no column where every reply is all answer."""
    answers = reply.answered(rows)
    return {} if answers is rows else _columns(numbers.lint(answers["text"]).select(["empty", "refusal"]))


def _digests(text: pa.ChunkedArray) -> dict[str, pa.Array]:
    """The digest of each normalised text, so that deciding on exact duplicates reads no text again."""
    digests, unknown = hashes.text_digests(text).view(np.int64), np.asarray(text.is_null())
    return {name: pa.array(digests[:, i], mask=unknown) for i, name in enumerate(("text_hi", "text_lo"))}


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))
