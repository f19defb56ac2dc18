"""Self-instruction with a proposer that repeats itself half of the time: the pool it fills, and the pace of the novelty check.

    python benchmarks/self_instruct.py [--tasks 5000] [--candidates 4000] [--seed 0]

The scripted engine is asked through the stages of a run (no Prefect), wave by wave, until as many tasks are accepted; half of
what it writes nearly copies one of 32 stock tasks, some echo an example, some are no task. Bars: no pair of the pool, seeds
included, at ROUGE-L F of 0.7 or more (every pair is computed by rapidfuzz's `cdist`, without the index); at least 2,000
candidates a second against the whole pool. Candidates of the pace are new replies of the same proposer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from ratoon.engine import Request, Sampling
from ratoon.generators.engines import scripted_proposals
from ratoon.generators.engines.scripted_proposals import ProposalsConfig
from ratoon.generators.proposers import formats as form
from ratoon.generators.proposers.prompts import asked_text, rows_of
from ratoon.novelty import RougeIndex, tokens_of
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.rollouts import sample
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.tasks.propose import Made, propose_tasks
from ratoon.store.store import Manifest

THRESHOLD = 0.7
_PER_ASK = 5
_CHUNK = 256


def recipe(asks: int, seed: int) -> Recipe:
    """Seed tasks, one arm of self-instruction, a scripted engine that repeats itself half of the time."""
    planted = {"duplicates": 0.5, "echoes": 0.02, "malformed": 0.02}
    return Recipe.model_validate({
        "run": {"name": "bench", "seed": seed, "shard_size": 64}, "model": {"kind": "tiny-random"},
        "engine": {"kind": "scripted", "scripted": {"proposals": planted}},
        "tasks": [{"source": "seeds"}], "suites": {"heldout": {"split": "train"}},
        "propose": {"sampling": {"max_tokens": 4000}, "arms": [{"method": "self_instruct", "asks": asks, "per_ask": _PER_ASK}]},
    })  # fmt: skip


def fill(root: Path, tasks: int, asks: int, seed: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What happened until `tasks` were accepted, and ids and texts of the pool, the oldest first."""
    began, cpu = time.perf_counter(), time.process_time()
    with opened(root, recipe(asks, seed), quiet=True) as ctx:
        pool, made = propose.tasks(ctx), Made([], [])
        row, base = records.base(ctx)
        while sum(m.counts.rows_out for m in made.tasks) < tasks:
            made = propose_tasks(ctx, [pool], made, len(made.tasks) + 1, lambda function: function, _asking(ctx, row, base))
        reasons = Counter(ctx.store.read("decisions", made.tasks)["reason"].to_pylist())
        known = [
            (r["task_id"], asked_text(r))
            for m in (pool, *made.tasks)
            for r in rows_of(ctx.store.read("tasks", [m]).to_pylist())
        ]
    told = {
        "waves": len(made.tasks), "candidates": sum(reasons.values()), "accepted": reasons.pop(None),
        "dropped": dict(sorted(reasons.items())), "seconds": time.perf_counter() - began,
        "processor": time.process_time() - cpu,
    }  # fmt: skip
    return told, known


def _asking(ctx: Context, row: Manifest, base: Any) -> Any:
    def sampled(asked: Manifest, schemas: Any) -> list[Manifest]:
        return [sample.sample_shard(ctx, shard, asked) for shard in sample.shards(ctx, asked, row, base, schemas=schemas)]

    return sampled


def nearest_pair(texts: list[str]) -> float:
    """The largest ROUGE-L F of any two texts, every pair computed; no index is asked."""
    points: dict[str, str] = {}
    written = ["".join(points.setdefault(t, chr(len(points) + 1)) for t in tokens_of(text)) for text in texts]
    best = 0.0
    for start in range(0, len(written), _CHUNK):
        rows = written[start : start + _CHUNK]
        found = cdist(rows, written, scorer=Indel.normalized_similarity, dtype=np.float64)
        found[np.arange(len(rows)), np.arange(start, start + len(rows))] = 0
        best = max(best, float(found.max()))
    return best


def pace(known: list[tuple[str, str]], candidates: int, seed: int) -> dict[str, float]:
    """Candidates a second against the whole pool, of processor time and of wall time, and how many were not new."""
    index = RougeIndex(THRESHOLD)
    began = time.process_time()
    for id, text in known:
        index.add(id, text)
    added = len(known) / (time.process_time() - began)
    texts = _written(candidates, seed)
    wall, began = time.perf_counter(), time.process_time()
    found = [index.nearest(text) for text in texts]
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    return {
        "added": added,
        "checked": len(texts) / cpu,
        "checked_wall": len(texts) / wall,
        "not_new": sum(map(bool, found)) / len(texts),
    }


def _written(n: int, seed: int) -> list[str]:
    """Tasks of further replies of the same proposer."""
    config = ProposalsConfig(duplicates=0.5, echoes=0, malformed=0)
    prompt = ({"role": "user", "content": f"Write {_PER_ASK} new tasks"},)
    texts: list[str] = []
    while len(texts) < n:
        request = Request(f"pace/{seed}/{len(texts)}", "m", (1,), Sampling(), messages=prompt, role="proposer")
        texts += [draft.instruction for draft in form.read_plain(scripted_proposals.write(config, request))]
    return texts[:n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--candidates", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told, known = fill(Path(folder) / "run", given.tasks, max(8, given.tasks // 12), given.seed)
    print(f"{told['accepted']} tasks accepted of {told['candidates']} candidates in {told['waves']} waves: {told['dropped']}")
    print(f"the stages took {told['seconds']:.1f} s, {told['processor']:.1f} s of processor time")
    pairs = len(known) * (len(known) - 1) // 2
    print(f"nearest of all {pairs} pairs: {nearest_pair([text for _, text in known]):.3f} (bar: below {THRESHOLD})")
    found = pace(known, given.candidates, given.seed)
    print(f"novelty: {found['checked']:,.0f} candidates/s of processor time, {found['checked_wall']:,.0f}/s of wall time")
    print(f"  against {len(known)} tasks (bar: 2,000); {found['not_new']:.0%} were not new; {found['added']:,.0f} added/s")


if __name__ == "__main__":
    main()
