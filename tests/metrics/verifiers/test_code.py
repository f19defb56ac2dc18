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
LONG = {"timeout_s": 20.0}  # a busy machine is no wrong program
ARGS = {"tests": ["assert add(2, 3) == 5", "assert add('a', 'b') == 'ab'", "assert not add(0, 0)"]} | LONG


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
        ("def add(a, b): return [5][a == 'a']", "wrong: assert add('a', 'b') == 'ab': IndexError: list index out of range"),
        ("x = 1", "wrong: assert add(2, 3) == 5: NameError: name 'add' is not defined"),
        ("def add(a, b) return", "unparsed: no Python"),
    ],
)  # fmt: skip
def test_wrong_programs_fail_and_say_why(program: str, why: str) -> None:
    assert judged(program) == ("fail", why)


def test_a_program_without_end_is_cut() -> None:
    assert judged("def add(a, b):\n    while True: pass", ARGS | {"timeout_s": 1.0}) == ("fail", "timeout")


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
    verdict = verify(f"```\nf = lambda: {given}\n```", None, {"tests": [f"assert f() == {want}"]} | LONG)
    assert (verdict.status, verdict.detail) == ("fail", "wrong: 0 of 1 tests hold")


def test_a_float_near_a_whole_number_and_infinity_itself_are_equal() -> None:
    program = "```\ndef f(x): return x\n```"
    tests = ["assert f(4.000000000001) == 4", "assert f(1e999) == 1e999", "assert f(0.1 + 0.2) == 0.3"]
    assert verify(program, None, {"tests": tests} | LONG).status == "pass"


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
    ("test", "why"),
    [
        ("x = 1", "asserts nothing"),
        ("assert (", "is no Python"),
        ("def check(candidate):\n    assert candidate(1) == 1", "never calls it"),
    ],
)
def test_a_test_that_judges_nothing_is_refused(test: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        verify("```\nx = 1\n```", None, {"tests": [test]})


@pytest.mark.parametrize("test", ["assert 1 == 1", "assert f(lambda: 1) == 1"])
def test_a_test_that_cannot_ask_the_program_abstains(test: str) -> None:
    assert verify("```\ndef f(x): return x()\n```", None, {"tests": [test]} | LONG).status == "abstain"


RIGHT = {
    "sets": ("def f(a, b): return tuple(set(a) & set(b))", "assert set(f((3, 4), (4, 5))) == set((4,))"),
    "a difference": ("def f(x): return x % 1", "assert abs(f(3.5) - 0.5) < 1e-6"),
    "unequal": ("def f(n): return n + 1", "assert f(3) != 5"),
    "infinity": ("def f(xs): return max(xs, default=float('-inf'))", "assert f([]) == float('-inf')"),
    "one of": ("def f(n): return n + 1", "assert f(3) in (4, 5) and f(3) not in [5]"),
    "chained": ("def f(n): return n + 1", "assert 3 < f(3) <= 4"),
    "another call": ("def f(n): return n\ndef g(n): return n", "assert f(3) == g(3) == 3"),
    "two in one": ("def f(n): return n", "x = f(2)\nassert x == 2; assert f(x + 1) == 3"),
    "a loop": ("def f(n): return n * n", "for i in range(5):\n    assert f(i) == i ** 2, 'square'"),
    "raises": ("def f(n): raise ValueError('no')", "try:\n    f(1)\n    assert False\n"
               "except ValueError as e:\n    assert 'no' in str(e)"),
    "Counter": ("import collections\ndef f(x): return collections.Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
    "most common": ("from collections import Counter\ndef f(x): return Counter(x)",
                    "assert f('aab').most_common(1) == [('a', 2)]"),
    "defaultdict": ("import collections\ndef f(): return collections.defaultdict(int, a=1)", "assert f() == {'a': 1}"),
    "namedtuple": ("import collections as c\nP = c.namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "assert f() == (1, 2)"),
    "Fraction": ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "assert f() == 0.5"),
    "Decimal": ("from decimal import Decimal\ndef f(): return Decimal('0.5')", "assert f() == 0.5"),
    "truth": ("def f(): return True", "assert f() == 1 and f() is True"),
    "frozenset": ("def f(): return frozenset([1])", "assert f() == {1}"),
    "deque": ("import collections\ndef f(): return collections.deque([1, 2])", "assert list(f()) == [1, 2]"),
    "range": ("def f(): return range(3)", "assert f() == range(3) and list(f()) == [0, 1, 2]"),
    "enum": ("import enum\nclass C(enum.IntEnum):\n    a = 1\ndef f(): return C.a", "assert f() == 1"),
    "bytes": ("def f(): return b'\\xff'", "assert f() == b'\\xff'"),
    "date": ("import datetime\ndef f(): return datetime.date(2020, 1, 2)", "assert str(f()) == '2020-01-02'"),
    "generator": ("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2] and sum(f(3)) == 3"),
    "an object": ("class Stack:\n    def __init__(self): self.xs = []\n    def push(self, x): self.xs.append(x)\n"
                  "    def __len__(self): return len(self.xs)", "s = Stack()\ns.push(1)\nassert len(s) == 1 and s.xs == [1]"),
    "equal objects": ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\ndef f(): return P(1)",
                      "assert f() == P(1) and f() != P(2)"),
    "a match": ("import re\ndef f(s): return re.match('a', s)", "assert f('a')\nassert not f('b')"),
    "in place": ("def f(xs): xs.sort()", "xs = [2, 1]\nf(xs)\nassert xs == [1, 2]"),
    "keywords": ("def f(a, *, b=1): return a - b", "assert f(3, b=2) == 1"),
    "a function of Python's name": ("def max(xs): return xs[0]", "assert max([3, 9]) == 3"),
    "from solution": ("def f(n): return n", "from solution import f\ndef test_f():\n    assert f(1) == 1"),
    "near in a list": ("def f(): return [{'a': (0.1 + 0.2,)}]", "assert f() == [{'a': (0.3,)}]"),
    "a call": ("def f(n): return n > 1", "assert f(2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_tests_of_any_shape_hold_for_a_right_program_and_not_for_one_that_gives_nothing(name: str) -> None:
    program, test = RIGHT[name]
    assert verify(f"```python\n{program}\n```", program, {"tests": [test]} | LONG)[:1] == ("pass",)
    nothing = "def f(*a, **k): pass\ng = Stack = P = f\ndef max(xs): pass"
    wrong = "def f(*a, **k): return 5\ng = Stack = P = print\ndef max(xs): pass" if name == "unequal" else nothing
    assert verify(f"```python\n{wrong}\n```", program, {"tests": [test]} | LONG).status == "fail"


HUMAN_EVAL = {
    "prompt": "from typing import List\n\n\ndef close(xs: List[float], d: float) -> bool:\n    '''Whether two are near.'''\n",
    "tests": ["METADATA = {'author': 'x'}\n\n\ndef check(candidate):\n    assert candidate([1.0, 2.0], 0.5) == False\n"
              "    assert candidate([1.0, 1.2], 0.5) == True\n"],
    "entry_point": "close",
}  # fmt: skip
BODY = "    return any(abs(x - y) < d for i, x in enumerate(xs) for y in xs[:i])\n"
MBPP = {
    "tests": ["assert set(similar((3, 4, 5, 6), (5, 7, 4, 10))) == set((4, 5))", "assert set(similar((1, 2), (3,))) == set()"],
    "setup": "",
}


@pytest.mark.parametrize(
    ("gold", "args"),
    [
        (BODY, HUMAN_EVAL),
        (HUMAN_EVAL["prompt"] + BODY, HUMAN_EVAL),
        ("def similar(a, b):\r\n  res = tuple(set(a) & set(b))\r\n  return (res)", MBPP),
    ],
)
def test_golds_as_they_lie_in_files_pass_their_own_check(gold: str, args: dict) -> None:
    assert verify(specimen(gold, args | LONG), gold, args | LONG).status == "pass"
    assert verify(specimen("    return None", args | LONG), gold, args | LONG).status == "fail"


@pytest.mark.parametrize(
    "reply",
    [
        "```python\n{}\n",
        "{}\n```",
        "{}\n",
        "```python\n{}```",
        "```python\r\n{}\r\n```\r\n",
        "```python\n{}\n```\nOutput:\n```\n4\n```",
        "```python\n{}\n```\nUse it so:\n```python\nprint(f(3))\n```",
        "```\n{}\n```\nIt prints:\n```\nsum = 4\n```",
        "```py\nprint('before')\n```\nThen\n~~~Python\n{}\n~~~",
        "It needs `f`.\n````python\n{}\n````",
    ],
)
def test_a_program_is_read_as_models_write_it(reply: str) -> None:
    assert verify(reply.format("def f(n):\n    return n + 1"), None, {"tests": ["assert f(3) == 4"]} | LONG).status == "pass"


DOUBLES = [{"stdin": "4\n", "stdout": "8"}, {"stdin": "5\n", "stdout": "10"}]


@pytest.mark.parametrize(
    "program",
    [
        "print(2 * int(input()))\nexit()",
        "print(2 * int(input()))\nquit()",
        "import sys\nsys.stdout.buffer.write(b'%d\\n' % (2 * int(sys.stdin.readline())))",
        "print(2 * int(open(0).read()))",
        "import os\nos.write(1, b'%d' % (2 * int(os.read(0, 100))))",
        "import os, sys\nprint(2 * int(sys.stdin.buffer.read()), flush=True)\nos._exit(0)",
        "import sys, atexit\nout = []\natexit.register(lambda: print(*out))\nout.append(2 * int(input()))",
        "import threading as t\nt.stack_size(2**26)\na = t.Thread(target=lambda: print(2 * int(input())))\na.start()\na.join()",
        "import sys\nf = open(1, 'w')\nf.write(str(2 * int(next(sys.stdin))))",
        "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()\n    exit(0)",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\nprint(2 * A(int(input())).x)",
    ],
)
def test_a_whole_program_may_use_its_streams_as_it_likes(program: str) -> None:
    assert judged(program, {"cases": DOUBLES} | LONG) == ("pass", None)


def test_a_program_that_leaves_early_fails_where_it_printed_something_else() -> None:
    verdict = verify("```\nimport os\nprint(8, flush=True)\nos._exit(0)\n```", None, {"cases": DOUBLES} | LONG)
    assert (verdict.status, verdict.value) == ("fail", 0.5)


@pytest.mark.parametrize(
    ("printed", "want", "right"),
    [
        ("0.3333333333333333", "0.333333333333", True),
        ("3.0", "3", True),
        ("a 1.0000000001", "a 1", True),
        ("1e3", "1000.0", True),
        ("3", "4", False),
        ("1000000000001", "1000000000000", False),
        ("3.1", "3", False),
        ("1.0 2", "1.0", False),
        ("007", "7", False),
        ("nan", "3", False),
        ("inf", "1e999", False),
    ],
)
def test_floats_that_are_printed_have_a_tolerance_and_whole_numbers_none(printed: str, want: str, right: bool) -> None:
    verdict = verify(f"```\nprint({printed!r})\n```", None, {"cases": [{"stdout": want}]} | LONG)
    assert verdict.status == ("pass" if right else "fail")


def test_a_package_is_there_only_where_the_task_names_it() -> None:
    args = {"tests": ["assert f([1, 2]) == 3"], "memory_mb": 1024} | LONG
    program = "```\nimport numpy\ndef f(xs): return numpy.sum(numpy.array(xs))\n```"
    assert verify(program, None, args).status == "fail"
    assert verify(program, None, args | {"packages": ["numpy"]}).status == "pass"
    with pytest.raises(ConfigError, match="is not installed"):
        verify(program, None, args | {"packages": ["no-such-package"]})


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "-" * 100_000 + "1", "x = [" + "1," * 50_000 + "]", "```" * 30_000, "```\n" * 25_000]
)
def test_a_reply_of_a_hundred_kilobytes_fails_and_is_no_error(text: str) -> None:
    assert verify(f"```python\n{text}\n```", None, ARGS).status == "fail"
    assert verify(text, None, ARGS).status == "fail"


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
