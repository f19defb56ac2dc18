"""How fast six filters decide: `python benchmarks/filters.py [ROWS]`; the mark is 160,000 candidates in under 3 s.

Candidates are made up: 8 rollouts a task of about 100 characters with two equations each, three quarters right, some
equal texts, so that every filter has work and most rows reach the dearest one, the cap. Prints seconds per step.
"""

from __future__ import annotations

import random
import sys
import time

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.filters.cap_per_task import CapPerTaskConfig
from ratoon.filters.decide import decide
from ratoon.filters.exact_dedup import ExactDedupConfig
from ratoon.filters.finish_reason import FinishReasonConfig
from ratoon.filters.length import LengthConfig
from ratoon.filters.pass_rate import PassRateConfig
from ratoon.filters.verified import VerifiedConfig
from ratoon.ids import digest

STEPS = [
    ("finish_reason", FinishReasonConfig()),
    ("length", LengthConfig(max_tokens=200, min_chars=1)),
    ("verified", VerifiedConfig(label_source="verifier")),
    ("pass_rate", PassRateConfig(lo=0.0, lo_inclusive=False)),
    ("exact_dedup", ExactDedupConfig()),
    ("cap_per_task", CapPerTaskConfig(k=4)),
]
_OPENINGS = ("First we add", "Let us see:", "To find it, take", "We know that", "Step by step:")


def candidates(rows: int) -> pa.Table:
    """Made-up candidates, 8 a task."""
    rng = random.Random(0)
    made = [_candidate(i, rng) for i in range(rows)]
    return pa.Table.from_pylist(made)


def _candidate(i: int, rng: random.Random) -> dict[str, object]:
    a, b, c = rng.randrange(10), rng.randrange(10), rng.randrange(4)
    answer = (a + b) * c
    text = f"{rng.choice(_OPENINGS)} {a} + {b} = {a + b}. Then {a + b} * {c} = {answer}, so the answer we want is {answer}."
    right, task = rng.random() < 0.75, i // 8
    return {
        "rollout_id": "r_" + digest(i)[:24], "task_id": f"t_{task}", "prompt_id": f"p_{task}", "problem_key": f"k{task}",
        "text": text, "n_tokens": len(text) // 3, "finish_reason": "stop" if rng.random() < 0.97 else "length",
        "status": "pass" if right else "fail", "value": float(right), "label_source": "verifier",
        "pass_rate": 0.75, "pass_lo": 0.4, "pass_hi": 0.93,
    }  # fmt: skip


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 160_000
    table = candidates(rows)
    for upto in range(1, len(STEPS) + 1):
        start, cpu = time.perf_counter(), time.process_time()
        decisions = decide(table, STEPS[:upto], "c_bench")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        reached = decisions.filter(pc.equal(decisions["step"], upto - 1))
        kept = sum(reached["keep"].to_pylist())
        print(f"{STEPS[upto - 1][0]:>14}: {reached.num_rows:>7} in, {kept:>7} kept; all up to here {seconds:.2f} s")
    print(f"{rows} candidates, {len(STEPS)} filters: {seconds:.2f} s ({cpu:.2f} s of CPU), {rows / seconds:,.0f} rows/s")


if __name__ == "__main__":
    main()
