"""The retry queue: tasks no rollout solved, to be asked again when the policy has learned more.

Such a group teaches NFT nothing (no right reply to tell wrong ones from) and RFT nothing either, but the task may be at the
frontier one round later. What was never solved is written to table `state` by each round's curation, under step `retry`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from ratoon import schema
from ratoon.pipelines.rollouts.first_wave import Preference
from ratoon.pipelines.runtime.context import Context
from ratoon.store.store import Manifest, Store

STEP = "retry"


def never_solved(groups: pa.Table, iteration: int) -> pa.Table:
    """Table `state`: one row per task that was judged in this round and solved by none of its rollouts; the key is its id."""
    judged, solved = Counter[str](), Counter[str]()
    for row in groups.select(["task_id", "n_valid", "n_passed"]).to_pylist():
        judged[row["task_id"]] += row["n_valid"] or 0
        solved[row["task_id"]] += row["n_passed"] or 0
    rows = [
        {"iteration": iteration, "step": STEP, "key": task, "value": json.dumps({"n_valid": n})}
        for task, n in sorted(judged.items()) if n and not solved[task]
    ]  # fmt: skip
    return schema.from_rows("state", rows)


def prefer(ctx: Context, iteration: int) -> Preference:
    """Tasks never solved when they were last asked come first, up to `generate.retry_share` of a wave's places."""
    generate, curations = ctx.recipe.generate, sources(ctx.store, iteration)
    if not curations:
        return Preference()
    return Preference(
        {"retry_share": generate.retry_share, "retry_times": generate.retry_times},
        {m.artifact_id: m.digests["state"] for m in curations},
        first=lambda asked: queue(ctx.store.read("state", curations), asked, generate.retry_times),
    )


def sources(store: Store, iteration: int) -> list[Manifest]:
    """The curations of earlier rounds that say what was never solved."""
    earlier = (m for m in store.find("curate") if m.shard == "default" and (m.iteration or 0) < iteration)
    return sorted((m for m in earlier if "state" in m.digests), key=lambda m: m.iteration or 0)


def queue(state: pa.Table, asked: Sequence[tuple[int, str]], times: int) -> set[str]:
    """Tasks that nobody solved when they were last asked, and that were asked at most `times` times after the first.

    `asked` holds (iteration, task_id) of every assignment so far.
    """
    latest, count = dict[str, int](), Counter[str]()
    for iteration, task in asked:
        latest[task] = max(iteration, latest.get(task, iteration))
        count[task] += 1
    failed = {
        (i, k) for i, s, k in zip(*(state[c].to_pylist() for c in ("iteration", "step", "key")), strict=True) if s == STEP
    }
    return {task for iteration, task in failed if latest.get(task) == iteration and count[task] <= times}
