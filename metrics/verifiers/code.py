"""A reply's Python program against tests, in the sandbox; knows where the program stands in a reply, and what results mean.

Tests are split before anything runs: the call goes into the sandbox, the expected value stays outside and is compared here, on
plain data. So a program cannot read the tests, patch the checker or pass by leaving early.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import ConfigError
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.sandbox.sandbox import Limits, Outcome
from ratoon.metrics.verifiers.formats import programs, wordings
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "code-2"
_INSIDE = Path(__file__).parents[1] / "sandbox" / "run_code.py"
_BLOCK = re.compile(r"^([ \t]*)(```+|~~~+)[ \t]*([\w+-]*)[^\n`]*\n(.*?)^[ \t]*\2[ \t]*$", re.MULTILINE | re.DOTALL)


class Case(Config):
    """What a program prints for one input."""

    stdin: str = Field("", description="the program's standard input")
    stdout: str = Field(description="what it must print; blanks at line ends and empty last lines do not count")


class CodeArgs(Config):
    """What a task's `verifier_args` may say."""

    tests: tuple[str, ...] = Field((), description="each `assert f(2) == 4`, `assert f(3)` or `assert not f(3)`")
    cases: tuple[Case, ...] = Field((), description="whole programs: input and expected output")
    setup: str = Field("", description="Python that the calls need, for example imports; run after the program")
    extract: Literal["last_block", "first_block", "whole"] = Field("last_block", description="which part of the reply is run")
    tolerance: float = Field(1e-9, ge=0, description="relative difference at which two floats are equal")
    timeout_s: float = Field(2.0, gt=0, description="seconds for all tests together; keep it below verify.timeout_s")
    memory_mb: int = Field(256, ge=64, description="address space of the program")


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when every test holds; `value` is the share that do, the canonical answer a digest of all results.

    The gold `answer` is a program that passes; it is not looked at here. Raises ConfigError on tests that cannot be split,
    NoSandbox where nothing may be run.
    """
    config = parsed_args(CodeArgs, args)
    calls, expected = _split(config.tests)
    if not calls and not config.cases:
        raise ConfigError("a task for the code verifier has neither tests nor cases", "give verifier_args.tests or .cases")
    if not text or text.isspace():
        return EMPTY
    program = _program(text, config.extract)
    if program is None:
        return unparsed("no code block")
    try:
        ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return unparsed("no Python")
    job = {"code": program, "calls": calls, "setup": config.setup, "inputs": [case.stdin for case in config.cases]}
    outcome = sandbox.run(_INSIDE, job, Limits(wall_s=config.timeout_s, memory_mb=config.memory_mb))
    wanted: list[Any] = [*expected, *(case.stdout for case in config.cases)]
    return _verdict(outcome, [*calls, *(f"input {i}" for i in range(len(config.cases)))], wanted, len(calls), config)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply whose program is `answer`."""
    config = parsed_args(CodeArgs, args)
    return answer if config.extract == "whole" else f"```python\n{answer}\n```"


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for; a whole reply that is a program cannot be moved to the right."""
    place = str(args.get("extract", "last_block"))
    return Formats(wordings.at("program" if place == "whole" else place), programs.right, programs.wrong)


def _program(text: str, extract: str) -> str | None:
    if extract == "whole":
        return text
    found = _BLOCK.findall(text)
    blocks = [(margin, body) for margin, _, language, body in found if language.lower() in ("", "python", "py", "python3")]
    return _moved_left(*blocks[-1 if extract == "last_block" else 0]) if blocks else None


def _moved_left(margin: str, body: str) -> str:
    """A block of a list item without the item's margin, where all of its lines have it."""
    lines = body.split("\n")
    if not all(line.startswith(margin) for line in lines if line.strip()):
        return body
    return "\n".join(line.removeprefix(margin) for line in lines)


@lru_cache(maxsize=1024)
def _split(tests: tuple[str, ...]) -> tuple[list[str], list[Any]]:
    """The calls, and the plain values they must give."""
    calls, expected = [], []
    for test in tests:
        try:
            call, value = _asserted(ast.parse(test.strip()))
        except (SyntaxError, ValueError, TypeError) as error:
            raise ConfigError(
                f"the test {test!r:.120} cannot be split into a call and a plain value: {error}",
                "write `assert call == literal`, `assert call` or `assert not call`",
            ) from None
        calls.append(ast.unparse(call))
        expected.append(value)
    return calls, expected


def _asserted(tree: ast.Module) -> tuple[ast.expr, Any]:
    """The call of one assert, and its value."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assert):
        raise ValueError("it is not one assert")
    test = tree.body[0].test
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        return test.left, ast.literal_eval(test.comparators[0])
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return ast.Call(ast.Name("bool"), [test.operand], []), False
    if isinstance(test, ast.Call):
        return ast.Call(ast.Name("bool"), [test], []), True
    raise ValueError("it is neither an equality nor a call")


def _verdict(outcome: Outcome, labels: Sequence[str], wanted: Sequence[Any], calls: int, config: CodeArgs) -> Verdict:
    results = _results(outcome.output)
    right = sum(_holds(results.get(i), want, i < calls, config.tolerance) for i, want in enumerate(wanted))
    said = hashlib.sha256(json.dumps([results.get(i) for i in range(len(wanted))]).encode()).hexdigest()[:16]
    if right == len(wanted):
        return passed(said)
    return failed(_why(outcome, results, labels, right), said if results else None, right / len(wanted))


def _results(output: bytes) -> dict[int, tuple[str, Any]]:
    """What the channel says of each test; lines that are no results are the program's own noise."""
    found: dict[int, tuple[str, Any]] = {}
    for line in output.split(b"\n"):
        try:
            number, kind, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(number, int) and kind in ("value", "error"):
            found[number] = (kind, value)
    return found


def _holds(result: tuple[str, Any] | None, want: Any, is_call: bool, tolerance: float) -> bool:
    if result is None or result[0] != "value":
        return False
    if not is_call:
        return isinstance(result[1], str) and _lines(result[1]) == _lines(want)
    return _equal(_tagged(want), result[1], tolerance)


def _tagged(value: Any) -> Any:
    """A literal as the sandbox's side tells it."""
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_tagged(item) for item in value]]
    if isinstance(value, set):
        return ["set", sorted((_tagged(item) for item in value), key=json.dumps)]
    if isinstance(value, dict):
        pairs = [[_tagged(key), _tagged(item)] for key, item in value.items()]
        return ["dict", sorted(pairs, key=lambda pair: json.dumps(pair[0]))]
    return [type(value).__name__, repr(value)] if isinstance(value, bytes | complex) else value


def _equal(want: Any, got: Any, tolerance: float) -> bool:
    """Python's `==` on tagged values, except that floats have a tolerance, a tuple is no list, and True is no 1.

    Two whole numbers are equal or not: a tolerance would forgive an error of one from a billion on.
    """
    a, b = _number(want), _number(got)
    if a is not None and b is not None:
        return a == b or ((isinstance(a, float) or isinstance(b, float)) and _near(a, b, tolerance))
    if isinstance(want, list) and isinstance(got, list):
        return len(want) == len(got) and all(_equal(x, y, tolerance) for x, y in zip(want, got, strict=True))
    return type(want) is type(got) and bool(want == got)


def _near(a: float, b: float, tolerance: float) -> bool:
    """Within the relative tolerance; infinity is near itself only, and a whole number too large for a float is near none."""
    try:
        return math.isclose(a, b, rel_tol=tolerance)
    except OverflowError:
        return False


def _number(value: Any) -> float | int | None:
    if isinstance(value, list) and len(value) == 2 and value[0] == "float" and isinstance(value[1], str):
        try:
            return float(value[1])
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _why(outcome: Outcome, results: Mapping[int, tuple[str, Any]], labels: Sequence[str], right: int) -> str:
    """The first thing that went wrong, in one line."""
    if outcome.ended == "timeout":
        return "timeout"
    if outcome.ended == "output":
        return "too much output"
    if -1 in results:
        return f"wrong: {results[-1][1]}"
    first = next((i for i in range(len(labels)) if i not in results), None)
    if first is not None:
        return f"wrong: the program ended before {labels[first]}"
    bad = next((f"{labels[i]} gives {value}" for i, (kind, value) in results.items() if kind == "error"), None)
    return f"wrong: {bad or f'{right} of {len(labels)} tests hold'}"[:300]
