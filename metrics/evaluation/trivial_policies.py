"""Policies that understand nothing, scored like any other: what a suite gives away for free.

`trivial:echo` answers a random number of the prompt; `trivial:constant` always says the most common answer of tasks it may
know.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pyarrow as pa

from ratoon import ids, schema
from ratoon.messages import user_text
from ratoon.metrics.evaluation.evaluate import MAX_UNJUDGED, evaluate
from ratoon.metrics.verifiers import gold_reply, numbers
from ratoon.metrics.verifiers.plain_numbers import tidy
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.verifiers.score import score

ECHO, CONSTANT = "trivial:echo", "trivial:constant"


def evaluate_trivial(
    tasks: pa.Table,
    pool: VerifierPool,
    *,
    iteration: int,
    suite: str,
    known: pa.Table | None = None,
    samples: int = 4,
    max_unjudged: float = MAX_UNJUDGED,
    seed: int = 0,
    draws: int = 10_000,
) -> pa.Table:
    """Table `evals`, only `pass@1` and its families, of both trivial policies on `tasks`.

    `known` are tasks whose answers the constant policy may count (train and probe, never the suite itself); 0 without them.
    """
    constant = _most_common(known)
    rows = tasks.select(["task_id", "messages", "verifier", "verifier_args"]).to_pylist()
    said = {
        ECHO: lambda row, sample: _echo(row, ids.derive_seed(seed, "trivial", f"{row['task_id']}/{sample}")),
        CONSTANT: lambda row, sample: constant,
    }
    tables = []
    for policy, answer in said.items():
        rollouts = [_rollout(policy, row, n, answer(row, n)) for row in rows if row["verifier"] for n in range(samples)]
        if rollouts:
            table = schema.from_rows("rollouts", rollouts)
            scores = score(table, tasks, pool)
            made = evaluate(
                table, scores, tasks, policy_id=policy, iteration=iteration, suite=suite, sampling_id=None, draws=draws,
                max_unjudged=max_unjudged,
            )  # fmt: skip
            tables.append(made.filter(pa.array([m.split("/")[0] == "pass@1" for m in made["metric"].to_pylist()])))
    return pa.concat_tables(tables) if tables else schema.empty("evals")


def _most_common(known: pa.Table | None) -> str:
    answers = [a for a in known["answer"].to_pylist() if a is not None] if known is not None else []
    # Sorted first, so that equally common answers do not depend on the order of rows.
    return Counter(sorted(answers)).most_common(1)[0][0] if answers else "0"


def _echo(row: dict[str, Any], seed: int) -> str:
    text = tidy(user_text(row["messages"]) or "")
    found = [numbers.canonical(n.value) for n in numbers.find(text) if n.value is not None]
    return random.Random(seed).choice(found) if found else "0"


def _rollout(policy: str, row: dict[str, Any], sample: int, answer: str) -> dict[str, Any]:
    args = json.loads(row["verifier_args"] or "{}")
    return {
        "rollout_id": ids.rollout_id(row["task_id"], policy, "", sample),
        "group_id": ids.group_id(row["task_id"], policy, ""),
        "task_id": row["task_id"], "policy_id": policy, "sample": sample,
        "text": gold_reply(row["verifier"], answer, args), "finish_reason": "stop",
    }  # fmt: skip
