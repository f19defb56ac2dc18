"""Runs inside the sandbox, beside a model's code: defines it, makes the calls, writes plain results. Never imported by ratoon.

Only calls and inputs come in; what they should give stays outside. So nothing in here has to be believed: code that writes into
our channel, patches this file or leaves early can still only say values, and does not know which are right.
"""

import contextlib
import io
import json
import os
import sys
from typing import Any

job = json.load(sys.stdin)
channel = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)


def plain(value: Any, depth: int = 0) -> object:
    """`value` in JSON that keeps the type: containers are tagged, everything else is told by its type's name."""
    if depth > 50:
        raise TypeError("result is nested too deeply")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return ["float", repr(value)]
    if kind in (list, tuple):
        return [kind.__name__, [plain(item, depth + 1) for item in value]]
    if kind in (set, frozenset):
        return ["set", sorted((plain(item, depth + 1) for item in value), key=json.dumps)]
    if kind is dict:
        pairs = [[plain(key, depth + 1), plain(item, depth + 1)] for key, item in value.items()]
        return ["dict", sorted(pairs, key=lambda pair: json.dumps(pair[0]))]
    if kind in (bytes, complex):
        return [kind.__name__, repr(value)]
    raise TypeError("result of type " + kind.__name__)


def tell(number: int, key: str, value: object) -> None:
    os.write(channel, (json.dumps([number, key, value]) + "\n").encode())


def called(expression: str, names: dict[str, object]) -> object:
    return plain(eval(expression, names))


def printed(given: str) -> str:
    """What the whole program prints when `given` is its input."""
    out, sys.stdin = io.StringIO(), io.TextIOWrapper(io.BytesIO(given.encode()))
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        exec(compile(job["code"], "<reply>", "exec"), {"__name__": "__main__"})
    return out.getvalue()


names: dict[str, object] = {"__name__": "reply"}
try:
    if job["calls"]:
        exec(compile(job["code"], "<reply>", "exec"), names)
        exec(compile(job["setup"], "<setup>", "exec"), names)
    work = [(called, call, names) for call in job["calls"]] + [(printed, given) for given in job["inputs"]]
    for number, (function, *arguments) in enumerate(work):
        try:
            tell(number, "value", function(*arguments))
        except Exception as error:
            tell(number, "error", (type(error).__name__ + ": " + str(error))[:200])
except BaseException as error:
    tell(-1, "error", (type(error).__name__ + ": " + str(error))[:200])
os._exit(0)
