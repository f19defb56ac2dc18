import shutil
import subprocess
import sys

import pytest

from ratoon import judge_reply
from ratoon.errors import ConfigError, UsageError


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("reply", "answer", "verifier", "args", "status", "read"),
    [
        (r"\boxed{0.5}", r"\frac{1}{2}", "math", {}, "pass", "1/2"),
        ("It is 8, not 7.", "7", "numeric", {}, "fail", "8"),
        ("The answer is C because I say so.", "C", "choice", {"letters": "ABCDEFGHIJ"}, "pass", "C"),
        ("Paris", "", "exact", {}, "abstain", "Paris"),
        (r"<think> maybe \boxed{41} </think> The answer is 42.", "42", "math", {}, "pass", "42"),
        (r"<think> It is \boxed{42}. </think> I can not answer that.", "42", "math", {}, "fail", None),
        (r"<think> It is \boxed{42}, but let me", "42", "math", {}, "fail", None),
        ("<think> Maybe (B)", "B", "choice", {}, "fail", None),
        (r"6*7 is \boxed{42}</think>" "\nSorry, no answer.", "42", "math", {}, "fail", None),
        ("<think> 6 * 7 = 42 </think> It is hard to say.", "42", "numeric", {}, "fail", None),
        (r"<think> It could be \boxed{A}. </think> The answer is B.", "B", "choice", {}, "pass", "B"),
    ],
)
def test_one_reply_is_judged_here_or_in_a_worker(reply, answer, verifier, args, status, read, inline) -> None:
    verdict = judge_reply(reply, answer, verifier, inline=inline, **args)
    assert (verdict.status, verdict.answer) == (status, read)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
def test_a_program_that_was_only_thought_of_is_none() -> None:
    program, tests = "```python\ndef f(n):\n    return n + 1\n```\n", ["assert f(3) == 4"]
    assert judge_reply(f"<think>Try\n{program}</think>\nI can not do it.", None, "code", tests=tests).status == "fail"
    assert judge_reply(f"<think>Try it.</think>\n{program}", None, "code", tests=tests).status == "pass"


@pytest.mark.parametrize("inline", [True, False])
def test_bad_arguments_and_unknown_verifiers_are_refused_before_anything_is_judged(inline: bool) -> None:
    with pytest.raises(ConfigError, match="did you mean 'extract'"):
        judge_reply("7", "7", "numeric", inline=inline, extrct="boxed")
    with pytest.raises(UsageError, match="did you mean 'numeric'"):
        judge_reply("7", "7", "numerik", inline=inline)
    with pytest.raises(UsageError, match="not str and int"):
        judge_reply("7", 7, "numeric", inline=inline)  # type: ignore[arg-type]


def test_the_import_is_light() -> None:
    heavy = "('sympy', 'torch', 'math_verify', 'prefect')"
    code = f"from ratoon import judge_reply; import sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
