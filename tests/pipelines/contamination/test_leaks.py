"""A proposal that asks what is held out is found in other clothes, and what many tasks share gives nobody away."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.tasks.task_rows import task_row
from ratoon.messages import user
from ratoon.metrics.text.contamination import ContaminationConfig
from ratoon.pipelines.contamination import leaks

HELD = "A farmer has seventeen sheep and all but nine of them run away during a storm at night, how many are left?"


def held_out(*pairs: tuple[str, str]) -> pa.Table:
    return schema.from_rows("tasks", [
        task_row(source="s", family="f", messages=[user(text)], problem_key=key, answer="9", verifier="numeric",
                 verifier_args={}, split="eval")
        for text, key in pairs
    ])  # fmt: skip


def rule(text: str, tasks: pa.Table, **fields: str) -> str | None:
    made = leaks.found([Candidate("r/0", "r", text, **fields)], tasks, None, ContaminationConfig())  # type: ignore[arg-type]
    return made["r/0"].rule if made else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HELD.upper(), "problem_key"),
        ("what is 3 + 4", "exact"),
        ("Here is a puzzle. " + HELD, "long"),
        ("Sheep: a farmer has seventeen sheep and all but nine ... during a storm at night, how many are left?", "coverage"),
        ("What is 3 - 4?", None),
        ("A farmer has cows", None),
    ],
)
def test_held_out_tasks_are_known_in_other_clothes(text: str, expected: str | None) -> None:
    assert rule(text, held_out((HELD, "sheep"), ("What is 3 + 4?", "add:3,4"))) == expected


def test_what_is_asked_counts_and_so_does_the_problem_key() -> None:
    tasks = held_out((HELD, "sheep"))
    assert rule("short input", tasks, message=HELD) == "problem_key"
    assert rule("Other words for it", tasks, problem_key="sheep") == "problem_key"
    assert rule("Other words for it", tasks, problem_key="cows") is None


def test_words_that_many_held_out_tasks_share_give_nobody_away() -> None:
    tail = "Work it out on paper first, then tell me only what you found in the end, nothing else at all."
    tasks = held_out(*((f"Sum {i} and {i + 1}. {tail}", str(i)) for i in range(20)))
    assert rule(f"How many legs have four dogs and a hen together? {tail}", tasks) is None
    assert rule(f"Sum 3 and 4. {tail}", tasks) is not None


def test_a_benchmark_that_is_no_task_of_the_run_is_held_out_too() -> None:
    known = schema.from_rows("benchmarks", [{"item_id": "b:0:question", "benchmark": "b", "part": "question", "text": HELD}])
    made = leaks.found([Candidate("r/0", "r", HELD), Candidate("r/1", "r", "Free?")], held_out(), known, ContaminationConfig())
    assert made == {"r/0": leaks.Leak("exact", "b:0:question", 1.0, None)}
    assert leaks.found([], held_out(), None, ContaminationConfig()) == {}
