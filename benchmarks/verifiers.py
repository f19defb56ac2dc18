"""How fast verifiers judge, and what hanging ones cost. Prints one JSON object.

Usage: python benchmarks/verifiers.py [--workers 2] [--timeout 1.0] [--hangs 64] [--rollouts 160000]

Bars: at least 10,000 numeric verifications per second on two cores; 10,000 answers with 64 hangs (half asleep, half
spinning) within clean + 64·T/W + 20 %, all verdicts right.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from ratoon import schema
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.score import score
from ratoon.metrics.voting.groups import groups

REPLY = "First 12 + 30 = 42, then 42 - 2 = 40, and half of that is 20.\nThe answer is {}."
HANGING = """
import time
from ratoon.metrics.verifiers.numeric import verify as numeric

def verify(text, answer, args):
    if text == "sleep":
        time.sleep(3600)
    while text == "spin":
        pass
    return numeric(text, answer, args)
"""


def answers(n: int, verifier: str) -> tuple[list[Item], list[str]]:
    """Items and the statuses they must get: every third one is wrong."""
    items = [Item(verifier, REPLY.format(i), str(i + (i % 3 == 0)), {"extract": "last"}) for i in range(n)]
    return items, ["fail" if i % 3 == 0 else "pass" for i in range(n)]


def throughput(workers: int, n: int) -> dict[str, float]:
    """Numeric verifications per second, best and median of five."""
    items, wanted = answers(n, "numeric")
    with VerifierPool(workers) as pool:
        start = time.perf_counter()
        pool.run(items[:1])
        started = time.perf_counter() - start
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            got = pool.run(items)
            seconds.append(time.perf_counter() - start)
            assert [v.status for v in got] == wanted
    return {"start_s": started, "per_s_best": n / min(seconds), "per_s_median": n / sorted(seconds)[2]}


def hangs(workers: int, timeout_s: float, n: int, hanging: int, verify: object) -> dict[str, float | bool]:
    """Wall time with `hanging` items among `n` others, beside what it may be."""
    items, wanted = answers(n, "hanging")
    with VerifierPool(workers, timeout_s, extra={"hanging": verify}) as pool:  # type: ignore[dict-item]
        pool.run(items[:1])
        start = time.perf_counter()
        pool.run(items)
        clean = time.perf_counter() - start
        mixed = [(item, status) for item, status in zip(items, wanted, strict=True)]
        for i in range(hanging):
            mixed.append((Item("hanging", "sleep" if i % 2 else "spin", "1", {}), "error"))
        random.Random(0).shuffle(mixed)
        start = time.perf_counter()
        got = pool.run([item for item, _ in mixed])
        wall = time.perf_counter() - start
    bar = (clean + hanging * timeout_s / workers) * 1.2
    return {
        "clean_s": clean, "wall_s": wall, "ideal_s": clean + hanging * timeout_s / workers, "bar_s": bar,
        "within": wall <= bar, "all_right": [v.status for v in got] == [status for _, status in mixed],
    }  # fmt: skip


def tables(n_tasks: int, k: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Rollouts, tasks and assignments of n_tasks x k samples."""
    task = [f"t_{t:024x}" for t in range(n_tasks)]
    rows, of = n_tasks * k, [t for t in range(n_tasks) for _ in range(k)]
    rollouts = {
        "rollout_id": [f"r_{i:024x}" for i in range(rows)], "group_id": [f"g_{t:024x}" for t in of],
        "task_id": [task[t] for t in of], "prompt_id": [f"p_{t:024x}" for t in of], "policy_id": ["m"] * rows,
        "sampling_id": ["s"] * rows, "iteration": [1] * rows, "role": ["solver"] * rows,
        "text": [REPLY.format(t + (i % 3 == 0)) for i, t in enumerate(of)], "finish_reason": ["stop"] * rows,
    }  # fmt: skip
    tasks = {
        "task_id": task, "answer": [str(t) for t in range(n_tasks)], "verifier": ["numeric"] * n_tasks,
        "verifier_args": ['{"extract": "last"}'] * n_tasks,
    }  # fmt: skip
    planned = {
        "iteration": [1] * n_tasks, "task_id": task, "prompt_id": [f"p_{t:024x}" for t in range(n_tasks)],
        "sampling_id": ["s"] * n_tasks, "n_planned": [k] * n_tasks,
    }  # fmt: skip
    names = ("rollouts", "tasks", "assignments")
    made = [schema.from_columns(name, columns) for name, columns in zip(names, (rollouts, tasks, planned), strict=True)]
    return made[0], made[1], made[2]


def whole(workers: int, rows: int) -> dict[str, float]:
    """Scores and groups of `rows` rollouts, wall seconds."""
    rollouts, tasks, planned = tables(rows // 8, 8)
    with VerifierPool(workers) as pool:
        pool.run([Item("numeric", "1", "1", {})])
        start = time.perf_counter()
        scores = score(rollouts, tasks, pool)
        scored = time.perf_counter()
        made = groups(rollouts, scores, planned)
        grouped = time.perf_counter()
    assert made.num_rows == rows // 8
    return {"rollouts": rollouts.num_rows, "score_s": scored - start, "groups_s": grouped - scored}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=1.0)
    parser.add_argument("--hangs", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=160_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "hanging_verifier.py").write_text(HANGING)
        sys.path.insert(0, folder)
        import hanging_verifier

        report = {
            "cpus": os.cpu_count(), "workers": options.workers, "timeout_s": options.timeout, "load_before": os.getloadavg()[0],
            "numeric": throughput(options.workers, 10_000),
            "hanging": hangs(options.workers, options.timeout, 10_000, options.hangs, hanging_verifier.verify),
            "score_and_group": whole(options.workers, options.rollouts),
        }  # fmt: skip
    print(json.dumps(report, indent=2, default=lambda value: round(value, 4)))


if __name__ == "__main__":
    main()
