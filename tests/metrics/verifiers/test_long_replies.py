"""A reply of 100 kB costs every verifier less than a second of processor time, and is never its error."""

from __future__ import annotations

import resource
import shutil

import pytest

from ratoon.metrics.verifiers import VERIFIERS, load
from ratoon.reply import parts

UNITS = (
    "7 ",
    "1,",
    "\\boxed{",
    "```\n",
    "select ",
    "<answer>",
    "answer: ",
    "A or B. ",
    "(",
    "-",
    "\n",
    "x",
    "½ ",
    "$",
    "</think>",
)
GOLDS = {
    "exact": ("Paris", {}),
    "numeric": ("7", {}),
    "math": ("7", {}),
    "choice": ("B", {}),
    "code": ("def f(n):\n    return n", {"tests": ["assert f(3) == 3"], "timeout_s": 20.0}),
    "sql": ("select 1 as a", {"database": "create table t (a int)", "timeout_s": 20.0}),
    "reasoning_gym": ("7", {"dataset": "chain_sum", "entry": {"question": "3 + 4", "answer": "7", "metadata": {}}}),
}


def spent() -> float:
    """Processor seconds of this process and of those it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.mark.parametrize("name", VERIFIERS)
def test_a_reply_of_a_hundred_kilobytes_is_judged_in_under_a_second(name: str) -> None:
    if name in ("code", "sql") and shutil.which("bwrap") is None:
        pytest.skip("no sandbox: sudo apt install bubblewrap")
    load(name)
    gold, args = GOLDS[name]
    verify = VERIFIERS[name].verify
    verify("warm", gold, args)
    for unit in UNITS:
        reply = unit * (100_000 // len(unit))
        start = spent()
        verdict = verify(reply, gold, args)
        taken = spent() - start
        assert (verdict.status, taken < 1.0) == ("fail", True) or (verdict.status, name) == ("pass", "numeric"), (unit, taken)


@pytest.mark.parametrize("unit", ["<think>", "</think>", "<think></think>", "<tool_call>", "<|channel|>"])
def test_its_parts_are_found_in_under_a_second(unit: str) -> None:
    start = spent()
    parts(unit * (100_000 // len(unit)))
    assert spent() - start < 1.0
