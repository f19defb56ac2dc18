"""A wave of tasks that the round has not asked yet: its first, and further ones where others want them.

Families get their share by weight, and tasks asked least often come first (`generators/assign.py`). A preference may put
tasks before all others, or have some come along.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids
from ratoon.generators.assign import choose
from ratoon.pipelines.rollouts.adaptive_consistency import replies_at_first
from ratoon.pipelines.rollouts.assign import planned
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Manifest

Asked = Sequence[tuple[int, str]]
"""What training asked so far: (iteration, task_id), each once."""


@dataclass(frozen=True)
class Preference:
    """Which tasks a wave takes first and which come along, with the settings and the digests by artifact they stand on."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    first: Callable[[Asked], Collection[str]] = lambda asked: ()
    along: Callable[[pa.Table, pa.Table], pa.Table] = lambda tasks, chosen: chosen


Prefer = Callable[[Context, int], Preference]
"""The preference of one iteration."""


def none(ctx: Context, iteration: int) -> Preference:
    """No task before another but by weight and by how often it was asked."""
    return Preference()


def asker(prefer: Prefer) -> Callable[[Context, RoundSoFar], Manifest | None]:
    """Asks the first wave of a round, and no other."""
    return lambda ctx, held: None if held.asked else wave(ctx, held, prefer)


def wave(
    ctx: Context, held: RoundSoFar, prefer: Prefer, n_tasks: int | None = None, weights: Mapping[str, float] | None = None
) -> Manifest:
    """Assignments of training tasks that this round has not asked, each planned `generate.n` times.

    `n_tasks` and `weights` are those of the recipe where they are not given.
    """
    generate, seed, number = ctx.recipe.generate, ctx.recipe.run.seed, len(held.asked)
    sampling = ctx.sampling(ctx.recipe.sampling)
    records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    earlier = [m for m in ctx.store.find("assign") if _before(m, held.iteration, number)]
    preference, at_first = prefer(ctx, held.iteration), replies_at_first(ctx.recipe)
    config = generate.model_dump(include={"tasks", "n", "weights"}) | {"seed": seed, "sampling": sampling.sampling_id}
    config |= {"wave": number, "tasks": n_tasks or generate.tasks} if number else {}
    config |= {"weights": weights} if weights is not None else {}
    config |= {"first": at_first} if at_first != generate.n else {}
    config |= preference.settings
    inputs = {m.artifact_id: m.content_digest for m in [*held.pool, *held.prompts, *earlier]} | dict(preference.inputs)

    def build() -> Built:
        tasks = ctx.store.read("tasks", held.pool)
        tasks = tasks.filter(pc.equal(tasks["split"], "train"))
        rows = ctx.store.read("assignments", earlier, columns=["iteration", "task_id"])
        asked = sorted(set(zip(rows["iteration"].to_pylist(), rows["task_id"].to_pylist(), strict=True)))
        left = _unasked(tasks, [task for i, task in asked if i == held.iteration])
        families = set(left["family"].to_pylist()) if number else set(config["weights"])
        chosen = choose(
            left, held.iteration, config["tasks"], ids.derive_seed(seed, "assign"), [task for _, task in asked],
            {family: weight for family, weight in config["weights"].items() if family in families},
            retry=preference.first(asked), retry_share=generate.retry_share,
        )  # fmt: skip
        chosen = preference.along(left, chosen)
        return planned(ctx, chosen, held.prompts, sampling, held.iteration, generate.n, "train", 0, at_first)

    return run_stage(ctx.store, key("assign", held.iteration, held.next_wave, config=config, inputs=inputs), build)


def tasks_left(ctx: Context, held: RoundSoFar) -> int:
    """How many training tasks a further wave could ask, of families that take part."""
    out = [family for family, weight in ctx.recipe.generate.weights.items() if weight == 0]
    tasks = ctx.store.read("tasks", held.pool, columns=["task_id", "split", "family"])
    takes_part = pc.invert(pc.is_in(tasks["family"], value_set=pa.array(out, pa.string())))
    tasks = tasks.filter(pc.and_(pc.equal(tasks["split"], "train"), takes_part))
    return _unasked(tasks, ctx.store.read("assignments", held.asked, columns=["task_id"])["task_id"].to_pylist()).num_rows


def _unasked(tasks: pa.Table, asked: Sequence[str]) -> pa.Table:
    return tasks.filter(pc.invert(pc.is_in(tasks["task_id"], value_set=pa.array(asked, pa.string()))))


def _before(assigned: Manifest, iteration: int, wave: int) -> bool:
    """Whether these are training assignments of an earlier round, or of an earlier wave of this one."""
    name, _, number = (assigned.shard or "").partition("+")
    return name == "train" and ((assigned.iteration or 0), int(number or 0)) < (iteration, wave)
