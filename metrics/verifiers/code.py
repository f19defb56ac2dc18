"""A reply's Python program against tests, in sandboxes; knows what a task's tests look like, and what results mean.

The program and the tests have a sandbox each, and a pipe between them: the tests ask, the program answers in plain values. So a
program cannot read what is expected, patch what compares, shadow a name of the tests, or pass by leaving early. Whole programs
are given inputs, and what they print is compared here.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import ConfigError
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.sandbox.limits import Limits, Outcome
from ratoon.metrics.sandbox.sandbox import Work
from ratoon.metrics.verifiers import programs_in_replies as replies
from ratoon.metrics.verifiers.formats import programs, wordings
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "code-3"
_SANDBOX = Path(__file__).parents[1] / "sandbox"
_PROGRAM, _TESTS, _INPUTS = (_SANDBOX / f"run_{name}.py" for name in ("program", "tests", "inputs"))
_ASKS = (ast.Assert, ast.Raise)


class Case(Config):
    """What a program prints for one input."""

    stdin: str = Field("", description="the program's standard input")
    stdout: str = Field(description="what it must print; blanks at line ends and empty last lines do not count")


class CodeArgs(Config):
    """What a task's `verifier_args` may say."""

    tests: tuple[str, ...] = Field((), description="each a test of any shape: `assert f(2) == 4`, or a `check(candidate)`")
    entry_point: str = Field("", description="the function that `check(candidate)` is called with")
    cases: tuple[Case, ...] = Field((), description="whole programs: input and expected output")
    prompt: str = Field("", description="the beginning of the program, where the reply only goes on from it")
    setup: str = Field("", description="Python that program and tests need, for example imports; run before both")
    packages: tuple[str, ...] = Field((), description="installed packages that the program may import, for example `numpy`")
    extract: Literal["last_block", "first_block", "whole"] = Field("last_block", description="which part of the reply is run")
    tolerance: float = Field(1e-9, ge=0, description="relative difference at which two floats, also printed ones, are equal")
    timeout_s: float = Field(2.0, gt=0, description="seconds for all tests together; keep it below verify.timeout_s")
    memory_mb: int = Field(256, ge=64, description="address space of the program")


class _Results(NamedTuple):
    """Per test (status, what went wrong), None where it was never reached; a digest of what the program did; how it ended."""

    tests: tuple[tuple[str, str] | None, ...]
    said: str
    ended: str


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when every test holds; `value` is the share that do, the canonical answer a digest of all the program said.

    Of the gold `answer`, a program that passes, only the names it defines are looked at. Abstains where a test cannot be asked.
    Raises ConfigError on tests that are no Python or assert nothing, NoSandbox where nothing may be run.
    """
    config = parsed_args(CodeArgs, args)
    _check(config)
    if not text or text.isspace():
        return EMPTY
    needs = {config.entry_point} if config.entry_point else replies.asked_names(config.tests)
    program = replies.program(text, config.extract, needs, any(case.stdin.strip() for case in config.cases))
    if program is None:
        return unparsed("no code block")
    if config.prompt and not replies.defines(program, needs):
        program = f"{config.prompt}\n{program}"
    if replies.parsed(program) is None:
        return unparsed("no Python")
    limits = Limits(wall_s=config.timeout_s, memory_mb=config.memory_mb)
    results = [_tested(program, answer, config, limits)] if config.tests else []
    results += [_printed(program, config, limits)] if config.cases else []
    return _verdict(results, [*config.tests, *(f"input {i}" for i in range(len(config.cases)))])


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply whose program is `answer`."""
    config = parsed_args(CodeArgs, args)
    return answer if config.extract == "whole" else f"```python\n{answer}\n```"


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for; a whole reply that is a program cannot be moved to the right."""
    place = str(args.get("extract", "last_block"))
    return Formats(wordings.at("program" if place == "whole" else place), programs.right, programs.wrong)


@lru_cache(maxsize=1024)
def _check(config: CodeArgs) -> None:
    """Raise ConfigError where the tests cannot judge anything."""
    if not config.tests and not config.cases:
        raise ConfigError("a task for the code verifier has neither tests nor cases", "give verifier_args.tests or .cases")
    for test in config.tests:
        try:
            tree = ast.parse(test.strip())
        except (SyntaxError, ValueError) as error:
            raise ConfigError(f"the test {test!r:.120} is no Python: {error}", "write `assert call == value`") from None
        if not any(isinstance(node, _ASKS) for node in ast.walk(tree)):
            raise ConfigError(f"the test {test!r:.120} asserts nothing", "write `assert call == value`")
        calls = any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in tree.body)
        if "check" in replies.outermost_names(test.strip()) and not calls and not config.entry_point:
            raise ConfigError(f"the test {test!r:.120} defines `check` and never calls it", "give `entry_point`")


def _tested(program: str, answer: str | None, config: CodeArgs, limits: Limits) -> _Results:
    """What the tests say, each side in its own sandbox."""
    gold_names = sorted(replies.outermost_names(answer or "") | ({config.entry_point} - {""}))
    reads, search = _packages(config.packages)
    tests = {"tests": config.tests, "setup": config.setup, "tolerance": config.tolerance, "gold_names": gold_names,
             "entry_point": config.entry_point}  # fmt: skip
    outcome = sandbox.talk(
        Work(_PROGRAM, {"code": program, "setup": config.setup}, reads, search), Work(_TESTS, tests, reads, search), limits
    )
    told = {number: (status, message) for number, status, message in map(json.loads, outcome.output.splitlines())}
    if -1 in told:  # nothing could be asked
        return _Results((told[-1],) * len(config.tests), "", outcome.ended)
    return _Results(tuple(told.get(i) for i in range(len(config.tests))), told.get(-2, ("", ""))[1], outcome.ended)


def _printed(program: str, config: CodeArgs, limits: Limits) -> _Results:
    """What the program prints for each input; where it ends its process, the next input has a fresh one."""
    inputs, outputs, end = (
        [case.stdin for case in config.cases],
        list[tuple[str, str | None]](),
        time.monotonic() + limits.wall_s,
    )
    reads, search = _packages(config.packages)
    code, ended = f"{config.setup}\n{program}" if config.setup else program, "done"
    while len(outputs) < len(inputs) and ended == "done" and (left := end - time.monotonic()) > 0:
        mark = secrets.token_hex(16)
        job = {"code": code, "inputs": inputs, "first": len(outputs), "mark": mark}
        outcome = sandbox.run(Work(_INPUTS, job, reads, search), limits._replace(wall_s=left))
        outputs += _outputs(outcome, mark, len(inputs) - len(outputs))
        ended = outcome.ended
    tests = [_prints(case.stdout, *said, config.tolerance) for case, said in zip(config.cases, outputs, strict=False)]
    lost = (None,) * (len(inputs) - len(outputs))
    ended = "timeout" if lost and ended == "done" else ended
    return _Results((*tests, *lost), _digest([_lines(said) for said, _ in outputs]), ended)


def _outputs(outcome: Outcome, mark: str, most: int) -> list[tuple[str, str | None]]:
    """What was printed for each input that was reached, and what was raised."""
    parts = re.split(rf"\n{mark}(\[.*\])\n", outcome.output.decode(errors="replace"))
    found = [(said, json.loads(facts)[1]) for said, facts in zip(parts[::2], parts[1::2], strict=False)]
    if outcome.ended == "done" and len(found) < most:
        found.append((parts[-1], None))  # the program ended the process
    return found[:most]


def _prints(want: str, said: str, raised: str | None, tolerance: float) -> tuple[str, str]:
    if raised is not None:
        return "fail", raised
    return ("pass", "") if _alike(_lines(want), _lines(said), tolerance) else ("fail", "")


def _alike(want: Sequence[str], said: Sequence[str], tolerance: float) -> bool:
    """Whether the lines are equal, or differ in floats within the tolerance."""
    return len(want) == len(said) and all(
        a == b or (len(a.split()) == len(b.split()) and all(map(_same_word(tolerance), a.split(), b.split())))
        for a, b in zip(want, said, strict=True)
    )


def _same_word(tolerance: float) -> Any:
    def same(a: str, b: str) -> bool:
        if a == b or not (_FLOAT.fullmatch(a) and _FLOAT.fullmatch(b)):
            return a == b
        return not (a.lstrip("+-").isdigit() and b.lstrip("+-").isdigit()) and _near(a, b, tolerance)

    return same


_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")


def _near(a: str, b: str, tolerance: float) -> bool:
    """Within the relative tolerance; a whole number too large for a float is near none."""
    return math.isfinite(float(a)) and math.isclose(float(a), float(b), rel_tol=tolerance)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _packages(names: tuple[str, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Top folders and files of installed packages, and where to search for them. Raises ConfigError for an unknown one."""
    reads, search = dict[Path, None](), dict[Path, None]()
    for name in names:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"package {name!r} is not installed", "install it, or leave it out of `packages`") from None
        root = Path(str(distribution.locate_file("")))
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
        reads |= dict.fromkeys(root / top for top in sorted(tops) if (root / top).exists())
        search[root] = None
    return tuple(reads), tuple(search)


def _verdict(results: Sequence[_Results], labels: Sequence[str]) -> Verdict:
    tests = [test for result in results for test in result.tests]
    if odd := next((test for test in tests if test is not None and test[0] == "abstain"), None):
        return abstained(f"a test cannot be asked: {odd[1]}")
    right = sum(test is not None and test[0] == "pass" for test in tests)
    said = "".join(result.said for result in results) or None
    if right == len(tests):
        return passed(said)
    ended = next((result.ended for result in results if result.ended != "done"), None)
    return failed(_ENDED.get(ended or "") or _why(tests, labels, right), said, right / len(tests))


_ENDED = {"timeout": "timeout", "output": "too much output", "threads": "too many threads", "files": "too many files"}


def _why(tests: Sequence[tuple[str, str] | None], labels: Sequence[str], right: int) -> str:
    """The first thing that went wrong, in one line."""
    for test, label in zip(tests, labels, strict=True):
        if test is not None and test[0] == "fail" and test[1]:
            return f"wrong: {' '.join(label.split()):.120}: {test[1]}"[:300]
    return f"wrong: {right} of {len(tests)} tests hold"
