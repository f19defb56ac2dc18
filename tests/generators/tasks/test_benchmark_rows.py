"""Rows shaped as well-known benchmarks have them: their golds, as they lie there, pass their own verifiers."""

import json

import pytest

from ratoon import config
from ratoon.generators.tasks.dataset import DatasetConfig, propose
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.verifiers.score import score_gold

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
SHAPES = {
    "GSM8K": (
        {"question": "3 red and 4 blue?", "answer": "3 + 4 = <<3+4=7>>7 in all\n#### 7"},
        {"verifier": "numeric", "answer_after": "####"},
    ),
    "MATH": (
        {"problem": "Half?", "solution": r"It is $\boxed{\frac{1}{2}}$.", "level": "Level 1", "type": "Algebra"},
        {"verifier": "math", "boxed": True, "columns": {"prompt": "problem", "answer": "solution", "level": "level"}},
    ),
    "MMLU": (
        {"question": "The sky?", "choices": ["red", "blue", "green", "grey"], "answer": 1, "subject": "colours"},
        {"verifier": "choice", "columns": {"prompt": "question", "verifier_args": {"options": "choices"}}},
    ),
    "MMLU-Pro": (
        {"question": "The sky?", "options": [f"colour {i}" for i in range(10)], "answer": "I", "answer_index": 8},
        {"verifier": "choice", "columns": {"prompt": "question", "verifier_args": {"options": "options"}}},
    ),
    "by its text": (
        {"question": "The sky?", "choices": ["red", "blue"], "answer": 1},
        {"verifier": "exact", "index_into": "choices", "columns": {"prompt": "question"}},
    ),
    "TriviaQA": (
        {"question": "Largest city?", "answer": {"value": "New York", "aliases": ["NYC", "New York City"]}},
        {"verifier": "exact"},
    ),
    "HumanEval": (
        {"task_id": "t/0", "prompt": "def double(x):\n", "canonical_solution": "    return 2 * x\n", "test": TEST,
         "entry_point": "double"},
        {"verifier": "code", "columns": {"answer": "canonical_solution", "verifier_args": {
            "tests": ["test"], "entry_point": "entry_point", "prompt": "prompt"}}},
    ),
    "MBPP": (
        {"text": "Write add.", "code": "def add(a, b):\n    return a + b", "test_list": ["assert add(1, 2) == 3"],
         "test_setup_code": "", "challenge_test_list": ["assert add(0, 0) == 0"]},
        {"verifier": "code", "columns": {"prompt": "text", "answer": "code", "verifier_args": {
            "tests": ["test_list", "challenge_test_list"], "setup": "test_setup_code"}}},
    ),
    "Spider": (
        {"question": "How many?", "query": "select count(*) from t",
         "schema": "create table t (a int); insert into t values (1)"},
        {"verifier": "sql", "verifier_args": {"engine": "sqlite"},
         "columns": {"prompt": "question", "answer": "query", "verifier_args": {"database": "schema"}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("columns", [{"prompt": "question"}, {}])
def test_the_options_of_a_choice_are_asked_in_letters_however_its_columns_are_named(tmp_path, columns):
    row, fields = SHAPES["MMLU"]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    named = columns | {"verifier_args": {"options": "choices"}}
    wording = "{prompt}\n\nEnd with the letter."
    made = propose(
        config.parse(DatasetConfig, {"path": str(path)} | fields | {"columns": named, "wording": wording}, "tasks.0"), 0
    )
    (message,) = made.tasks["messages"].to_pylist()[0]
    assert message["content"] == "The sky?\n\nA. red\nB. blue\nC. green\nD. grey\n\nEnd with the letter."


def sandboxed() -> bool:
    try:
        sandbox.require()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gold_of_a_benchmarks_row_passes_its_own_check(tmp_path, shape):
    row, fields = SHAPES[shape]
    if fields["verifier"] in ("code", "sql") and not sandboxed():
        pytest.skip("no sandbox here")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    made = propose(config.parse(DatasetConfig, {"path": str(path)} | fields, "tasks.0"), 0)
    assert made.failures.num_rows == 0
    with VerifierPool(1) as pool:
        scores = score_gold(made.tasks, pool)
    assert scores["status"].to_pylist() == ["pass"], scores["detail"].to_pylist()
