"""A run's tasks as prompts to train on by reinforcement: what is asked, by what it is judged, and how hard it was.

Only tables in and rows out; the shapes of trainers are in sft/data/export_prompts.py.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import messages

Prompt = Mapping[str, Any]
# Sides of a run's tasks as other trainers call theirs.
SPLITS = {"train": "train", "probe": "validation", "eval": "test"}


def prompts(
    tasks: pa.Table, rendered: pa.Table, groups: pa.Table, only: Collection[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Prompts by split, in the order of task_id: of tasks that a verifier judges, of those in `only` where it is given.

    Messages are those the newest round asked, system message and worked examples included (`rendered` is table `prompts`).
    `pass_rate` is of the newest round that has one, over all its groups, and `difficulty` is 1 - pass_rate; null where nobody
    asked.
    """
    rates = _rates(groups)
    asked = {row["prompt_id"]: row["messages"] for row in rendered.select(["prompt_id", "messages"]).to_pylist()}
    by_task: dict[str, list[Any]] = {}
    for row in rendered.filter(pc.equal(rendered["role"], "solver")).select(["task_id", "messages"]).to_pylist():
        by_task.setdefault(row["task_id"], row["messages"])
    found: dict[str, list[dict[str, Any]]] = {}
    for task in tasks.sort_by("task_id").to_pylist():
        if task["verifier"] is None or (only is not None and task["task_id"] not in only):
            continue
        rate, n, prompt_id = rates.get(task["task_id"], (None, None, ""))
        turns = asked.get(prompt_id) or by_task.get(task["task_id"]) or task["messages"]
        split = SPLITS[task["split"] or "train"]
        found.setdefault(split, []).append({
            "task_id": task["task_id"], "messages": messages.for_template(turns),
            "question": (messages.user_turns(task["messages"]) or [""])[-1], "tools": json.loads(task["tools"] or "[]"),
            "answer": task["answer"], "verifier": task["verifier"], "verifier_args": json.loads(task["verifier_args"] or "{}"),
            "family": task["family"], "level": task["level"], "split": split, "pass_rate": rate, "n": n,
            "difficulty": None if rate is None else 1 - rate,
        })  # fmt: skip
    return found


def judged_by(prompt: Prompt) -> dict[str, Any]:
    """What every format carries beside its own fields; arguments as JSON, for each verifier has others."""
    names = ("task_id", "verifier", "family", "level", "pass_rate", "n", "difficulty")
    args = json.dumps(prompt["verifier_args"], ensure_ascii=False, sort_keys=True)
    return {name: prompt[name] for name in names} | {"verifier_args": args}


def _rates(groups: pa.Table) -> dict[str, tuple[float, int, str]]:
    """Pass rate, replies judged and prompt of each task in the newest round that judged any of its replies."""
    rows: dict[str, list[dict[str, Any]]] = {}
    names = ["task_id", "iteration", "role", "prompt_id", "group_id", "n_valid", "n_passed"]
    for row in groups.select(names).to_pylist():
        if row["n_valid"] and row["role"] in (None, "solver"):
            rows.setdefault(row["task_id"], []).append(row)
    return {task: _rate(members) for task, members in rows.items()}


def _rate(rows: Iterable[Mapping[str, Any]]) -> tuple[float, int, str]:
    ordered = sorted(rows, key=lambda row: (row["iteration"] or 0, row["group_id"]))
    newest = [row for row in ordered if row["iteration"] == ordered[-1]["iteration"]]
    n = sum(row["n_valid"] for row in newest)
    return sum(row["n_passed"] or 0 for row in newest) / n, n, newest[-1]["prompt_id"]
