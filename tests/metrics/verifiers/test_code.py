"""The code verifier: right programs pass, wrong ones fail and say why, and no trick passes for a right one."""

from __future__ import annotations

import shutil

import pytest

from ratoon.errors import ConfigError
from ratoon.metrics.verifiers.code import specimen, verify
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.score import score, score_gold
from ratoon.schema import from_rows

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
ARGS = {"tests": ["assert add(2, 3) == 5", "assert add('a', 'b') == 'ab'", "assert not add(0, 0)"]}


PLAIN = "(1, 2), {3, 1}, {'a': None, 2: [True]}, b'x'"


def judged(program: str, args: dict = ARGS) -> tuple[str, str | None]:
    verdict = verify(f"Here it is:\n```python\n{program}\n```\nDone.", None, args)
    return verdict.status, verdict.detail


def test_the_gold_passes_its_own_verifier() -> None:
    gold = "def add(a, b):\n    return a + b"
    assert verify(specimen(gold, ARGS), gold, ARGS).status == "pass"


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("print(int(input()) * 2)", {"cases": [{"stdin": "4\n", "stdout": "8"}, {"stdin": "5", "stdout": "10 \n\n"}]}),
        ("import sys\nprint('a')\nsys.exit(0)", {"cases": [{"stdout": "a"}]}),
        (f"def f(): return [1 + 1e-12, {PLAIN}]", {"tests": [f"assert f() == [1.0, {PLAIN}]"]}),
        ("def f(x): return math.floor(x)", {"tests": ["assert f(2.5) == 2"], "setup": "import math"}),
    ],
)  # fmt: skip
def test_right_programs_pass(program: str, args: dict) -> None:
    assert judged(program, args) == ("pass", None)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("def add(a, b): return 5", "wrong: 1 of 3 tests hold"),
        ("def add(a, b): return [5][a == 'a']", "wrong: add('a', 'b') gives IndexError: list index out of range"),
        ("x = 1", "wrong: add(2, 3) gives NameError: name 'add' is not defined"),
        ("def add(a, b) return", "unparsed: no Python"),
        ("def add(a, b):\n    while True: pass", "timeout"),
    ],
)  # fmt: skip
def test_wrong_programs_fail_and_say_why(program: str, why: str) -> None:
    assert judged(program, ARGS | {"timeout_s": 0.5}) == ("fail", why)


@pytest.mark.parametrize(
    "trick",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "class Equal:\n    __eq__ = __bool__ = lambda *a: True\ndef add(a, b): return Equal()",
        "import json\njson.dumps = lambda *a, **k: '[0, \"value\", 5]'\ndef add(a, b): return 7",
        "import builtins\nbuiltins.eval = lambda *a: 5\ndef add(a, b): return 7",
        "import os\nfor i in range(60):\n    try: os.write(i % 20, b'[%d,\"value\",5]\\n' % (i // 20))\n    except OSError: 0",
        "import sys\nsys.modules['__main__'].tell = lambda *a: None\ndef add(a, b): return 7",
        "import gc\ndef add(a, b): return next((o['want'] for o in gc.get_objects() if type(o) is dict and 'want' in o), 7)",
    ],
)  # fmt: skip
def test_no_trick_passes(trick: str) -> None:
    assert judged(trick)[0] == "fail"


def test_the_expected_values_are_nowhere_inside() -> None:
    program = (
        "import gc\nseen, it = open('/proc/self/cmdline').read() + str(gc.get_objects()), 'xyzzy-'\nit += 'expected'\n"
        "def add(a, b): return it if it in seen else 7"
    )
    assert judged(program, {"tests": ["assert add(1, 2) == 'xyzzy-expected'"]})[0] == "fail"


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("float('inf')", "4"),
        ("-1e999", "2.5"),
        ("[1e999]", "[0]"),
        ("1000000006", "1000000007"),
        (f"{10**400 + 1}", f"{10**400}"),
        ("1.5", f"{10**400}"),
    ],
)
def test_infinity_is_no_number_and_whole_numbers_have_no_tolerance(given: str, want: str) -> None:
    verdict = verify(f"```\nf = lambda: {given}\n```", None, {"tests": [f"assert f() == {want}"]})
    assert (verdict.status, verdict.detail) == ("fail", "wrong: 0 of 1 tests hold")


def test_a_float_near_a_whole_number_and_infinity_itself_are_equal() -> None:
    program = "```\ndef f(x): return x\n```"
    tests = ["assert f(4.000000000001) == 4", "assert f(1e999) == 1e999", "assert f(0.1 + 0.2) == 0.3"]
    assert verify(program, None, {"tests": tests}).status == "pass"


@pytest.mark.parametrize("margin", ["   ", "\t", "      "])
def test_a_block_in_a_list_is_read_without_its_margin(margin: str) -> None:
    lines = ["```python", "def add(a, b):", "", "    if a:", "        return a + b", "    return a", "```"]
    text = "1. Write this:\n\n" + "\n".join(line and margin + line for line in lines) + "\n2. Done."
    assert verify(text, None, ARGS).status == "pass"


def test_a_margin_that_not_all_lines_have_is_left() -> None:
    assert verify("  ```python\ndef add(a, b):\n  return a + b\n  ```", None, ARGS).status == "pass"


def test_three_backticks_within_a_line_open_no_block() -> None:
    text = "```add``` adds:\n```python\ndef add(a, b): return a + b\n```"
    assert verify(text, None, ARGS).status == "pass"


def test_the_share_of_tests_that_hold_is_kept_and_equal_behaviour_is_one_answer() -> None:
    half = verify("```python\ndef f(x): return x\n```", None, {"tests": ["assert f(1) == 1", "assert f(2) == 3"]})
    other = verify("```\nf = lambda y: y + 0\n```", None, {"tests": ["assert f(1) == 1", "assert f(2) == 3"]})
    assert half.value == 0.5
    assert half.answer == other.answer


@pytest.mark.parametrize(
    "test", ["x = 1", "assert f(1) < 2", "assert f(1) == g(1)", "assert f(1) == 2; assert True", "assert ("]
)
def test_a_test_that_cannot_be_split_is_refused_with_what_can(test: str) -> None:
    with pytest.raises(ConfigError, match="cannot be split"):
        verify("```\nx\n```", None, {"tests": [test]})


@pytest.mark.parametrize(
    ("reply", "detail"),
    [("", "empty"), ("no code", "unparsed: no code block"), ("```sql\nselect 1\n```", "unparsed: no code block")],
)
def test_replies_without_a_program_fail_and_say_so(reply: str, detail: str) -> None:
    assert verify(reply, None, ARGS)[::3] == ("fail", detail)


def test_worker_processes_run_programs_and_the_gold_check_sees_a_bad_gold() -> None:
    rows = [
        {"task_id": "t_right", "answer": "def add(a, b): return a + b", "verifier": "code"},
        {"task_id": "t_wrong", "answer": "def add(a, b): return a * b", "verifier": "code"},
    ]
    with VerifierPool(workers=2) as pool:
        (verdict,) = pool.run([Item("code", "```\ndef add(a, b): return a + b\n```", None, ARGS)])
        assert verdict.status == "pass"
        tasks = from_rows("tasks", [row | {"verifier_args": '{"tests": ["assert add(2, 3) == 5"]}'} for row in rows])
        gold = score_gold(tasks, pool).to_pylist()
    assert {row["subject_id"]: row["status"] for row in gold} == {"t_right": "pass", "t_wrong": "fail"}


def test_a_program_that_raises_a_lone_surrogate_fails_alone_and_its_shard_is_scored() -> None:
    replies = ["raise ValueError('\\ud800')", "return a + b"]
    rows = [
        {"rollout_id": f"r{i}", "task_id": "t", "text": f"```python\ndef add(a, b):\n    {reply}\n```", "finish_reason": "stop"}
        for i, reply in enumerate(replies)
    ]
    task = {"task_id": "t", "verifier": "code", "verifier_args": '{"tests": ["assert add(2, 3) == 5"]}'}
    with VerifierPool(workers=1) as pool:
        bad, good = score(from_rows("rollouts", rows), from_rows("tasks", [task]), pool).to_pylist()
    assert (bad["status"], good["status"]) == ("fail", "pass")
    assert "\ufffd" in bad["detail"]
