"""Which training tasks are asked this round; knows families and what was asked before, not how it went.

Families get their share of the round by weight. Within a family the tasks asked least often come first, so none is asked
again before the family's pool is used up; among equals the hash of (seed, iteration, task) decides. Tasks to be tried again
come before all others, on at most a share of the family's places.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids
from ratoon.errors import ConfigError
from ratoon.generators.shares import parted


def choose(
    tasks: pa.Table,
    iteration: int,
    n_tasks: int,
    seed: int,
    assigned: Iterable[str] = (),
    weights: Mapping[str, float] | None = None,
    retry: Collection[str] = (),
    retry_share: float = 0.0,
) -> pa.Table:
    """The rows of this round's training tasks in id order, each once; all there are where the pool is smaller than `n_tasks`.

    Tasks of other splits are passed over. `assigned` holds the task ids of earlier rounds, one entry each time a task was
    asked. `weights` are relative, 1 for families not named, 0 leaves a family out; where a family has fewer tasks than its
    share, the others take over. `retry` are task ids that take up to `retry_share` of each family's places first; those
    that find no place there are asked in their turn.
    Raises ConfigError when `weights` names no family, is negative or leaves none.
    """
    pools = _pools(tasks)
    shares = _checked(weights or {}, pools)
    asked = Counter(assigned)
    chosen: list[str] = []
    for family, count in parted(n_tasks, shares, {f: len(pools[f]) for f in shares}).items():
        ordered = sorted(pools[family], key=lambda t: (asked[t], ids.derive_seed(seed, f"assign/{iteration}", t), t))
        again = [t for t in ordered if t in retry][: int(count * retry_share)]
        taken = set(again)
        chosen += again + [t for t in ordered if t not in taken][: count - len(again)]
    picked = tasks.filter(pc.is_in(tasks["task_id"], value_set=pa.array(chosen, pa.string())))
    return picked.sort_by("task_id")


def _pools(tasks: pa.Table) -> dict[str, list[str]]:
    """Family to its training tasks, families in the order of their names."""
    found: dict[str, list[str]] = {}
    columns = [tasks[name].to_pylist() for name in ("task_id", "family", "split")]
    for task, family, split in zip(*columns, strict=True):
        if split == "train":
            found.setdefault(family or "", []).append(task)
    return dict(sorted(found.items()))


def _checked(weights: Mapping[str, float], pools: Mapping[str, list[str]]) -> dict[str, float]:
    """The weight of each family that takes part."""
    for family, weight in weights.items():
        if family not in pools:
            raise ConfigError(
                f"weights names family {family!r}, which has no training task", f"families: {', '.join(pools) or 'none'}"
            )
        if not (weight >= 0 and math.isfinite(weight)):
            raise ConfigError(f"the weight of family {family!r} is {weight}", "a weight is 0 or more")
    found = {family: weights.get(family, 1.0) for family in pools}
    found = {family: weight for family, weight in found.items() if weight > 0}
    if not found:
        raise ConfigError("no training task is left to ask", "lower splits.eval and splits.probe, or mend weights")
    return found
