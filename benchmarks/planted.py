"""Planted false positive and false negative rates of the shipped verifiers, as a Markdown table.

Usage: python benchmarks/planted.py [--probes 1000] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import random
from typing import Any

import pyarrow as pa

from ratoon import schema
from ratoon.generators.tasks import propose_all
from ratoon.generators.tasks.reasoning_gym import ReasoningGymConfig
from ratoon.metrics.estimators import Estimate
from ratoon.metrics.measure_verifier import MeasureConfig, measure
from ratoon.metrics.verifiers.pool import VerifierPool

_EXPRESSIONS = ("x+1", "\\sqrt{2}", "\\frac{\\pi}{3}", "x^2-1", "2n", "(0,1)", "\\{1,2\\}", "3\\sqrt{5}", "e^{2}")
_WORDS = ("red apple", "blue", "Green tea", "black", "a yellow sun", "New York", "42", "H2O")
_GYM = ("chain_sum", "countdown", "gcd", "spell_backward", "knights_knaves", "sudoku", "leg_counting", "letter_counting",
        "number_sorting", "decimal_arithmetic")  # fmt: skip


def numbers(n: int) -> list[str]:
    """Whole and negative numbers, large ones, fractions, decimals: the answers of a mixed arithmetic set."""
    draw = random.Random(0)
    kinds = (
        lambda: str(draw.randint(0, 99)), lambda: str(-draw.randint(1, 500)), lambda: str(draw.randint(1000, 99_999)),
        lambda: f"{draw.randint(1, 30)}/{draw.randint(2, 9)}", lambda: str(draw.randint(1, 999) / 8),
    )  # fmt: skip
    return [kinds[i % len(kinds)]() for i in range(n)]


def tasks(verifier: str, answers: list[str], **args: Any) -> pa.Table:
    """One task an answer."""
    rows = [
        {"task_id": f"t{i:05d}", "family": verifier, "answer": a, "verifier": verifier, "verifier_args": json.dumps(args)}
        for i, a in enumerate(answers)
    ]
    return schema.from_rows("tasks", rows)


def sets(n: int) -> dict[str, pa.Table]:
    """What is measured, by the words of its row."""
    mixed, words, letters = numbers(n), [_WORDS[i % len(_WORDS)] for i in range(n)], ["ABCDE"[i % 5] for i in range(n)]
    expressions = [_EXPRESSIONS[i % len(_EXPRESSIONS)] for i in range(n)]
    made = {f"numeric, {place}": tasks("numeric", mixed, extract=place) for place in ("last", "boxed", "tagged")}
    made |= {
        f"math, numbers, boxed_only = {str(only).lower()}": tasks("math", mixed, boxed_only=only) for only in (True, False)
    }
    made |= {"math, expressions": tasks("math", expressions)}
    made |= {f"exact, {place}": tasks("exact", words, extract=place) for place in ("whole", "last_line", "boxed", "tagged")}
    made |= {f"choice, {place}": tasks("choice", letters, extract=place) for place in ("any", "boxed")}
    gym = propose_all([ReasoningGymConfig(dataset=name, n=n // len(_GYM)) for name in _GYM], 0)
    return made | {f"reasoning_gym, {len(_GYM)} generators": gym.tasks}


def said(rate: Estimate | None) -> str:
    return "none" if rate is None else f"{rate.value:.1%} ({rate.lo:.1%} to {rate.hi:.1%}) of {rate.n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| verifier | false positives | false negatives | misread formats | misread traps |\n|---|---|---|---|---|")
    with VerifierPool(options.workers) as pool:
        for name, table in sets(options.probes).items():
            (found,) = measure(table, pool, MeasureConfig(probes=options.probes), 0)
            usual = [f"{f.format} {f.errors}/{f.n}" for f in found.formats if f.errors and not f.trap]
            traps = [f"{f.format} {f.errors}/{f.n}" for f in found.formats if f.errors and f.trap]
            cells = (name, said(found.fpr), said(found.fnr), "; ".join(usual) or "none", "; ".join(traps) or "none")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
