"""Which tasks of a round are asked again because nobody solved them."""

from __future__ import annotations

from ratoon import schema
from ratoon.generators.waves.failed_again import FailedAgainConfig, failed_again


def test_only_tasks_that_were_judged_and_never_solved_are_asked_again() -> None:
    judged = {"wrong": (4, 0), "mixed": (4, 1), "right": (4, 4), "unjudged": (0, 0), "unknown": (None, None)}
    rows = [{"group_id": f"g_{task}", "task_id": task, "n_valid": n, "n_passed": k} for task, (n, k) in judged.items()]
    rows.append({"group_id": "g_warm", "task_id": "wrong_then_right", "n_valid": 4, "n_passed": 2})
    rows.append({"group_id": "g_cold", "task_id": "wrong_then_right", "n_valid": 4, "n_passed": 0})
    again = failed_again(schema.from_rows("groups", rows), FailedAgainConfig(temperature=1.3, n=6))
    assert again == (frozenset({"wrong"}), 6, {"temperature": 1.3})
