"""Questions without what helped to answer them: what a training example asks where `curation.train_on` is "question".

Self-Specialization (2310.00160) answers a question with retrieved passages and trains on the question alone. The tokens of the
reply are as they were sampled; its log-probs go, since under another prompt they would be others. Only view sft is rewritten:
NFT needs the prompt that was sampled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.config import semantic
from ratoon.errors import DataError
from ratoon.generators import prompts as prompting
from ratoon.messages import user
from ratoon.pipelines.recipe.recipe import PromptConfig, Recipe
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.render import Renderer
from ratoon.store.store import Counts, Manifest, Store

ROLE = "question"


def prompts(ctx: Context, crop: Crop) -> Manifest | None:
    """The bare questions of a round's tasks, rendered; None where the recipe trains on what was asked."""
    recipe, renderer = ctx.recipe, ctx.renderer
    if recipe.curation.train_on != "question":
        return None
    config = semantic(recipe.prompt) | {"template": renderer.template_digest, "tokenizer": renderer.tokenizer_digest}

    def build() -> Built:
        tasks = ctx.store.read("tasks", crop.pool, ["task_id", "messages", "meta"])
        table, failures = rendered(tasks, renderer, recipe.prompt)
        n = table.num_rows + failures.num_rows
        return Built({"prompts": table, "failures": failures}, Counts(n, table.num_rows, failed=failures.num_rows))

    return run_stage(ctx.store, key("bare", crop.iteration, "train", config=config, inputs=crop.pool), build)


def rendered(tasks: pa.Table, renderer: Renderer, config: PromptConfig) -> tuple[pa.Table, pa.Table]:
    """Tables `prompts` and `failures` of the tasks whose `meta` knows the question that was `asked` of the documents."""
    rows: list[dict[str, Any]] = []
    for row in tasks.select(["task_id", "meta"]).to_pylist():
        asked = json.loads(row["meta"] or "{}").get("asked")
        if asked:
            rows.append({"task_id": row["task_id"], "messages": [user(asked)]})
    return prompting.build(schema.from_rows("tasks", rows), renderer, config.system, config.few_shot, ROLE)


def found(store: Store, recipe: Recipe, iteration: int) -> list[Manifest]:
    """The round's bare questions, where the recipe trains on them. Raises DataError where the round has none."""
    if recipe.curation.train_on != "question":
        return []
    manifests = store.find("bare", iteration)
    if not manifests:
        raise DataError(
            f"round {iteration} has no bare questions", 'they are rendered by `ratoon run` with curation.train_on = "question"'
        )
    return manifests


def instead(rollouts: pa.Table, asked: pa.Table, bare: Sequence[pa.Table]) -> tuple[pa.Table, pa.Table]:
    """Rollouts under the bare questions of their tasks, without log-probs, and table `prompts` with both kinds.

    A rollout whose task has no bare question stays as it is.
    """
    if not bare:
        return rollouts, asked
    questions = pa.concat_tables(bare)
    at = pc.index_in(rollouts["task_id"], value_set=questions["task_id"].combine_chunks())
    other = at.is_valid() if isinstance(at, pa.ChunkedArray) else pc.is_valid(at)
    prompt_id = pc.if_else(other, questions["prompt_id"].combine_chunks().take(at.combine_chunks()), rollouts["prompt_id"])
    changed = {"prompt_id": prompt_id} | {name: _without(rollouts[name], other) for name in ("logprobs", "logprob_source")}
    for name, column in changed.items():
        rollouts = rollouts.set_column(rollouts.schema.get_field_index(name), rollouts.schema.field(name), column)
    used = questions.filter(pc.is_in(questions["prompt_id"], value_set=pc.unique(prompt_id)))
    kept = asked.filter(pc.invert(pc.is_in(asked["prompt_id"], value_set=used["prompt_id"].combine_chunks())))
    return rollouts, pa.concat_tables([kept, used])


def _without(column: pa.ChunkedArray, gone: pa.ChunkedArray) -> pa.Array:
    """The column with nulls at `gone`, whatever its type."""
    places = pc.if_else(gone, pa.scalar(None, pa.int64()), pa.chunked_array([pa.array(range(len(column)), pa.int64())]))
    return column.combine_chunks().take(places.combine_chunks())
