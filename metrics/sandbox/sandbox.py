"""Runs scripts of ours beside code that a model wrote, where that code can reach nothing; knows no verifier.

`run` gives one script a sandbox; `talk` gives two scripts one each, with nothing but two pipes between them: the program's side
answers, the tests' side asks. `docs/security.md` says what this does and does not defend.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ratoon.metrics.sandbox import child as children
from ratoon.metrics.sandbox.child import Child
from ratoon.metrics.sandbox.limits import Limits, NoSandbox, Outcome

_VALUES = Path(__file__).with_name("values.py")
_END_S = 1.0  # for a side that was left alone to end by itself


class Work(NamedTuple):
    """A script (ours, standard library and module `values` only), the job it reads as JSON from its standard input, and
    folders that it may import from besides: where each lies, and the folder to search."""

    script: Path
    job: object
    reads: Sequence[Path] = ()
    search: Sequence[Path] = ()


@cache
def require() -> None:
    """Raise NoSandbox, with what mends it, unless a sandbox can be made here. Asked once per process."""
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "aarch64"}:
        raise NoSandbox(
            f"model-written code needs a sandbox, and there is none for {platform.system()} on {platform.machine()}",
            "run on Linux (x86_64 or aarch64), or use another verifier",
        )
    if shutil.which("bwrap") is None:
        raise NoSandbox("model-written code needs a sandbox, and bubblewrap is not installed", "sudo apt install bubblewrap")
    limits = Limits(wall_s=20)
    with children.started("print('in')", b"", limits, (), ()) as child:
        outcome = children.read(child, limits, ())
        if outcome.output != b"in\n":
            raise NoSandbox(
                f"bubblewrap cannot make a sandbox here: {child.complaint() or outcome.ended}",
                "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also "
                "kernel.apparmor_restrict_unprivileged_userns=0), or in a container allow them for it",
            )


def run(work: Work, limits: Limits) -> Outcome:
    """What the script writes. Raises NoSandbox where the sandbox cannot be made."""
    require()
    with children.started(*_parts(work, limits), [str(path) for path in work.search], _values()) as child:
        outcome = children.read(child, limits, (child,))
        if outcome.ended == "done":
            _require_started(child)
    return outcome


def talk(program: Work, tests: Work, limits: Limits) -> Outcome:
    """What the tests' script writes, while it asks the program's. Raises NoSandbox where a sandbox cannot be made."""
    require()
    with ExitStack() as ours:
        asked, asks, heard, answers = (ours.enter_context(os.fdopen(fd, mode)) for fd, mode in _pipes())
        words = [str(path) for path in program.search]
        ends = [asked.fileno(), answers.fileno()]
        one = ours.enter_context(children.started(*_parts(program, limits), [*map(str, ends), *words], _values(), ends))
        asked.close()
        answers.close()
        ends = [asks.fileno(), heard.fileno()]
        with children.started(*_parts(tests, limits), [*map(str, ends), *words], _values(), ends) as other:
            asks.close()
            heard.close()
            outcome = children.read(other, limits, (one, other))
            if outcome.ended == "done":
                _require_started(other)
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(_END_S)  # nobody asks any more
            _require_started(one)
    return outcome


def _pipes() -> list[tuple[int, str]]:
    """Two pipes: read and write end of the questions', then of the answers'."""
    return [(fd, mode) for _ in range(2) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]


def _parts(work: Work, limits: Limits) -> tuple[str, bytes, Limits, list[str]]:
    return work.script.read_text(encoding="utf-8"), json.dumps(work.job).encode(), limits, [str(path) for path in work.reads]


@cache
def _values() -> str:
    return _VALUES.read_text(encoding="utf-8")


def _require_started(child: Child) -> None:
    """Raise NoSandbox where it ended by itself and no program had been started in it."""
    if child.code() is None:
        raise NoSandbox(f"bubblewrap failed: {child.complaint()}", "see `ratoon doctor`")
