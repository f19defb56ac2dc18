"""Mutants of a gold program, and the tests that let them pass."""

from __future__ import annotations

import ast
import json
import shutil
import time

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.filters.weak_tests import WeakTestsConfig, keep
from ratoon.metrics.verifier_errors import weak_tests
from ratoon.metrics.verifiers.formats.mutants import mutants
from ratoon.metrics.verifiers.pool import VerifierPool

GOLD = """def largest(xs, most):
    best = 0
    for x in xs:
        if x > best and x <= most:
            best = x
    return best
"""
STRONG = ["assert largest([1, 7, 5], 9) == 7", "assert largest([8, 9, 3], 8) == 8", "assert largest([], 3) == 0",
          "assert largest([2], 1) == 0", "assert largest([4, 4], 4) == 4"]  # fmt: skip
WEAK = ["assert largest([1], 1) == 1"]
NONE = ["assert largest([], 0) is not print"]


def test_each_mutant_is_another_program_and_every_kind_has_its_turn() -> None:
    found = mutants(GOLD, 20)
    texts = list(found.values())
    assert len(set(texts)) == len(texts)
    assert ast.unparse(ast.parse(GOLD)) not in texts
    assert {name.partition(" in line")[0] for name in found} == {"and or", "bound", "comparison", "condition", "return"}
    assert {name.partition(" in line")[0] for name in mutants(GOLD, 5)} == {name.partition(" in line")[0] for name in found}
    assert mutants(GOLD, 3, seed=1) == mutants(GOLD, 3, seed=1)


@pytest.mark.parametrize("program", ["def (", "", "(" * 5000, "x = 'text'"])
def test_what_is_no_python_or_has_nothing_to_change_has_no_mutants(program: str) -> None:
    assert mutants(program, 5) == {}


def test_mutants_of_a_long_program_are_made_in_little_time() -> None:
    program = "\n".join(f"def f{i}(n):\n    return n + {i} if n > {i} else n - 1" for i in range(300))
    start = time.process_time()
    assert len(mutants(program, 10)) == 10
    assert time.process_time() - start < 3


def _tasks(tests: dict[str, list[str]]) -> pa.Table:
    rows = [
        {"task_id": name, "family": "f", "answer": GOLD, "verifier": "code",
         "verifier_args": json.dumps({"tests": said, "timeout_s": 20.0})}
        for name, said in tests.items()
    ]  # fmt: skip
    return schema.from_rows("tasks", rows)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
def test_tests_that_ask_little_let_mutants_pass_and_are_named_first() -> None:
    tasks = _tasks({"strong": STRONG, "weak": WEAK, "none": NONE})
    with VerifierPool(2, 60.0) as pool:
        found = weak_tests.tested(tasks, pool, 10, 6, 0)
        assert weak_tests.tested(tasks, pool, 10, 0, 0) == []
    assert [one.task_id for one in found] == ["none", "weak", "strong"]
    assert found[0].share == 1.0
    assert found[0].share > found[1].share > found[2].share
    assert weak_tests.share(found).value == sum(len(one.passed) for one in found) / sum(one.judged for one in found)
    rows = weak_tests.table(found).to_pylist()
    assert [(row["subject_id"], row["value"]) for row in rows] == [(one.task_id, one.share) for one in found]


def test_the_filter_drops_what_weak_tests_passed_and_keeps_what_nobody_knows() -> None:
    rows = pa.table({"mutants_passed": pa.array([0.0, 0.2, 0.4, None])})
    made = keep(rows, WeakTestsConfig(max_passed=0.2))
    assert made.keep.tolist() == [True, True, False, True]
    assert made.reason.to_pylist() == [None, None, "weak_tests", None]
