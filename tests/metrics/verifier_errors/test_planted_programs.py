"""Planted programs and queries: every right one passes the real verifier in the real sandbox, every usual wrong one fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.metrics.verifier_errors.error_rates import MeasureConfig, measure
from ratoon.metrics.verifier_errors.planted import Probe, plant
from ratoon.metrics.verifiers import gold_reply
from ratoon.metrics.verifiers.formats import programs, queries, wordings
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import Verdict, failed, passed

sandboxed = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
LONG = {"timeout_s": 20.0}  # a busy machine is no wrong program
DATABASE = "create table t (a int, b varchar); insert into t values (1, 'x'), (2, 'y;'), (3, 'y;'), (null, '--');"

FUNCTIONS = {
    "recursion": (
        "def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)",
        ["assert fact(20) == 2432902008176640000", "assert fact(0) == 1"],
    ),
    "nought": ("def f(x):\n    return x - x", ["assert f(3) == 0"]),
    "truth": ("import math\n\n\ndef even(n: int) -> bool:  # by the last bit\n    return not n & 1", ["assert even(4)"]),
    "falsehood": ("def even(n):\n    return n % 2 == 0\n", ["assert not even(3)", "assert even(2) == True"]),
    "none": ('def find(x, xs=()):\n    """A search."""\n    return x if x in xs else None', ["assert find(3) is None"]),
    "lists": (
        "def turned(xs):\n    global seen\n    seen = '''\n  kept\n'''\n    return [[x, 1.5] for x in xs][::-1]",
        ["assert turned([1, 2]) == [[2, 1.5], [1, 1.5]]"],
    ),
    "empty": ("class Box:\n    pass\n\n\ndef kept(xs): return [x for x in xs if x]", ["assert kept([0]) == []"]),
    "indirect": ("def f(x):\n    yield from range(x)", ["assert sorted(f(3)) == [0, 1, 2]", "assert list(f(0)) == []"]),
    "setup": ("def f(x):\n    return math.floor(x)", ["assert f(2.5) == 2"]),
}
PROGRAMS = {
    "sum": ("print(sum(map(int, input().split())))", [("1 2\n", "3"), ("5 5", "10\n\n")]),
    "leaves early": ("import sys\nfor line in sys.stdin:\n    print(line, end='')\nsys.exit(0)\n", [("a\nb", "a\nb")]),
    "own print": ("import sys\nprint = sys.stdout.write\nprint('yes')", [("", "yes")]),
    "says nothing": ("def main():\n    input()\n\n\nif __name__ == '__main__':\n    main()", [("x\n", "")]),
}
QUERIES = {
    "semicolon": ("SELECT a FROM t WHERE a > 1 ORDER BY a DESC; -- it ends here", {"ordered": True}),
    "quoted": ("select b || ';' from t", {}),
    "commented": ("-- all of them\nselect a, a\nfrom t -- 't' is small", {}),
    "table": ("with c as (select max(a) as m from t)\nselect m / 3.0 from c;", {}),
    "brackets": ("(select 1 as a) union all (select a from t) order by a limit 2", {}),
}


def code_args(name: str) -> tuple[str, dict[str, Any]]:
    """A gold program by name, and its arguments."""
    if name in FUNCTIONS:
        gold, tests = FUNCTIONS[name]
        return gold, LONG | {"tests": tests} | ({"setup": "import math"} if name == "setup" else {})
    gold, cases = PROGRAMS[name]
    return gold, LONG | {"cases": [{"stdin": given_, "stdout": out} for given_, out in cases]}


def table(verifier: str, rows: list[tuple[str, dict[str, Any]]]) -> Any:
    return schema.from_rows(
        "tasks",
        [
            {"task_id": f"t{i}", "family": "f", "answer": gold, "verifier": verifier, "verifier_args": json.dumps(args)}
            for i, (gold, args) in enumerate(rows)
        ],
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(2, timeout_s=60.0) as pool:
        yield pool


def misread(pool: VerifierPool, probes: list[Probe]) -> list[tuple[str, str, str | None]]:
    """Replies on which the verifier errs, and how."""
    assert probes
    verdicts = pool.run([Item(p.verifier, p.text, p.answer, p.args) for p in probes])
    pairs = zip(probes, verdicts, strict=True)
    return [(p.format, p.text, v.detail) for p, v in pairs if v.status != ("pass" if p.right else "fail")]


def all_values(verifier: str, gold: str, args: dict[str, Any]) -> list[Probe]:
    """Each value once, said as the specimen says it."""
    values = {
        True: programs.right(gold, args) if verifier == "code" else queries.right(gold, args),
        False: programs.wrong(gold, args, ()) if verifier == "code" else queries.wrong(gold, args, ()),
    }
    return [
        Probe("t", verifier, right, False, True, name, name, gold_reply(verifier, text, args), gold, args)
        for right, said in values.items()
        for name, text in said.items()
    ]


@sandboxed
@pytest.mark.parametrize("name", [*FUNCTIONS, *PROGRAMS])
def test_right_programs_pass_and_wrong_ones_fail_whatever_the_gold(pool: VerifierPool, name: str) -> None:
    gold, args = code_args(name)
    probes = all_values("code", gold, args)
    assert {"raises", "plain"} < {p.format for p in probes}
    assert sum(not p.right for p in probes) >= 3
    assert misread(pool, probes) == []


@sandboxed
@pytest.mark.parametrize("name", QUERIES)
def test_right_queries_pass_and_wrong_ones_fail_whatever_the_gold(pool: VerifierPool, name: str) -> None:
    gold, args = QUERIES[name]
    assert misread(pool, all_values("sql", gold, {"database": DATABASE} | LONG | args)) == []


@sandboxed
@pytest.mark.parametrize(
    ("verifier", "place", "ways"),
    [
        ("code", "last_block", wordings.LAST_BLOCK),
        ("code", "first_block", wordings.FIRST_BLOCK),
        ("code", "whole", wordings.PROGRAM),
        ("sql", "block", wordings.BLOCK),
        ("sql", "whole", wordings.WHOLE),
    ],
)
def test_every_wording_of_every_place_is_planted_and_read(
    pool: VerifierPool, verifier: str, place: str, ways: tuple[wordings.Wording, ...]
) -> None:
    gold, args = code_args("lists") if verifier == "code" else (QUERIES["commented"][0], {"database": DATABASE} | LONG)
    usual = [p for p in plant(table(verifier, [(gold, args | {"extract": place})]), len(ways) + 4, 0) if not p.trap]
    for right in (True, False):
        named = {p.format.partition(":")[0] for p in usual if p.right is right}
        assert named >= {way.name for way in ways}
    assert misread(pool, usual) == []


@sandboxed
def test_of_two_blocks_one_is_read_which_is_what_the_traps_show(pool: VerifierPool) -> None:
    rows = [code_args("nought"), code_args("truth")]
    probes = plant(table("code", rows), 10, 0) + plant(
        table("code", [(g, a | {"extract": "first_block"}) for g, a in rows]), 10, 0
    )
    probes += plant(table("sql", [("select a from t", {"database": DATABASE} | LONG)]), 10, 0)
    traps = [p for p in probes if p.trap]
    assert {p.format for p in traps if not p.right} == {"two blocks"}
    assert {f for f, _, _ in misread(pool, traps)} == {p.format for p in traps}


def test_a_result_is_changed_only_where_the_first_test_sees_it() -> None:
    program = "def f(x):\n    return x"
    for test in ("assert sorted(f([2])) == [2]", "assert f(f(2)) == 2", "assert abs(f(2)) == 2", "assert len(f('a')) == 1"):
        assert set(programs.wrong(program, {"tests": [test, "assert f(2) == 2"]}, ())) == {"raises", "other name", "cut"}
    assert "negated" not in programs.wrong(program, {"tests": ["assert f(2) == 2"], "setup": "f = int"}, ())


def test_a_name_is_left_out_only_where_nothing_else_bears_it() -> None:
    for program, test in (
        ("def max(x):\n    return x", "assert max(2) == 2"),
        ("from math import *\ndef gcd(x):\n    return x", "assert gcd(2) == 2"),
        ("def f(x):\n    return x\nglobals()['f'] = f", "assert f(2) == 2"),
        ("def f(x):\n    return x", "assert (0 and f(2)) == 0"),
    ):
        assert "other name" not in programs.wrong(program, {"tests": [test]}, ())


def test_a_program_that_reads_itself_is_left_as_it_is() -> None:
    assert set(programs.right("print(len(dir()))", {"cases": [{"stdout": "9"}]})) == {
        "plain", "reformatted", "commented", "empty last line",
    }  # fmt: skip


@pytest.mark.parametrize("args", [{}, {"tests": 3, "cases": "x"}, {"tests": ["assert ("]}, {"cases": [7, {}]}])
def test_broken_arguments_and_golds_raise_nothing(args: dict[str, Any]) -> None:
    assert programs.right("def (", args) == {"plain": "def ("}
    assert programs.wrong("def (", args, ()) == {}
    assert set(programs.wrong("def f(x):\n    return x", args, ())) >= {"raises", "cut"}


def test_a_fence_inside_a_program_leaves_the_wordings_that_can_hold_it() -> None:
    gold = 'def f():\n    return """\n```\nsql\n```\n"""'
    found = plant(table("code", [(gold, {"tests": ["assert f() == '\\n```\\nsql\\n```\\n'"]})]), 10, 0)
    assert {p.format.partition(":")[0] for p in found if p.right} == {"long fence"}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40)
@given(plain_values.filter(lambda value: "inf" not in repr(value)))
def test_no_changed_result_holds_under_pythons_own_reading(value: Any) -> None:
    program = f"def f(x):\n    return {value!r} if x else f(x + 1)"
    truth = "assert f(0)" if value else "assert not f(0)"
    for test in (f"assert f(0) == {value!r}", truth):
        for text in programs.right(program, {"tests": [test]}).values():
            assert holds(text, test)
        wrong = programs.wrong(program, {"tests": [test]}, ())
        assert "negated" in wrong
        assert not [name for name, text in wrong.items() if holds(text, test)]


def holds(program: str, test: str) -> bool:
    """Whether a program of ours passes, judged by Python itself."""
    names: dict[str, Any] = {"__name__": "reply", "print": lambda *_: None}
    try:
        exec(program, names)
        exec(test, names)
    except Exception:
        return False
    return True


class Fixed(VerifierPool):
    """A verifier that says the same to everything."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(1)
        self.verdict = verdict

    def run(self, items: Any) -> list[Verdict]:
        return [self.verdict for _ in items]


@pytest.mark.parametrize(("verdict", "fpr", "fnr"), [(passed(), 1.0, 0.0), (failed("wrong"), 0.0, 1.0)])
@pytest.mark.parametrize("verifier", ["code", "sql"])
def test_a_broken_verifier_is_measured_as_broken(verifier: str, verdict: Verdict, fpr: float, fnr: float) -> None:
    rows = (
        [code_args(name) for name in FUNCTIONS]
        if verifier == "code"
        else [(q, {"database": DATABASE}) for q, _ in QUERIES.values()]
    )
    (found,) = measure(table(verifier, rows), Fixed(verdict), MeasureConfig(probes=60), 0)
    assert (found.fpr.value, found.fnr.value) == (fpr, fnr)
    assert found.fpr.n == found.fnr.n == 60
