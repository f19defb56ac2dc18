"""Tasks of the round asked again as a rule of `generate.again` says (`generators/waves/`), each rule once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.config import semantic
from ratoon.generators.waves import WAVES
from ratoon.pipelines.rollouts import score
from ratoon.pipelines.rollouts.assign import planned
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Manifest


def asker(config: Any) -> Callable[[Context, RoundSoFar], Manifest | None]:
    """An asker that asks what its rule names, once a round; null where the rule names no task."""
    rule = semantic(config)

    def ask(ctx: Context, held: RoundSoFar) -> Manifest | None:
        if any(rule == m.key.config.get("again") for m in held.asked):
            return None
        again = WAVES[config.kind].choose(score.groups_so_far(ctx, held), config)
        if not again.tasks:
            return None
        sampling = ctx.sampling(ctx.recipe.sampling.model_copy(update=dict(again.sampling)))
        records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)

        def build() -> Built:
            tasks = ctx.store.read("tasks", held.pool)
            chosen = tasks.filter(pc.is_in(tasks["task_id"], value_set=pa.array(sorted(again.tasks), pa.string())))
            return planned(ctx, chosen, held.prompts, sampling, held.iteration, again.n, "train", 0)

        settings = {"again": rule, "sampling": sampling.sampling_id}
        inputs = [*held.asked, *held.rollouts, *held.scores]
        artifact_key = key("assign", held.iteration, held.next_wave, config=settings, inputs=inputs)
        return run_stage(ctx.store, artifact_key, build)

    return ask
