"""Runs inside the sandbox, with a model's program: answers what the tests ask of it, in plain values. Never imported by ratoon.

The tests run in a sandbox of their own and ask through a pipe. So nothing in here has to be believed: a program that writes
into the pipe, patches this file or leaves early can still only say values, and does not know which are right.
"""

import json
import os
import sys
import types
from typing import Any

from values import decode, encode, line

job = json.load(sys.stdin)
asked, answers = os.fdopen(int(sys.argv[1]), "rb"), int(sys.argv[2])
sys.path[:0] = sys.argv[3:]
for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
    os.dup2(os.open(os.devnull, mode), number)
sys.stdin = os.fdopen(0, closefd=False)

kept: list[Any] = []


def refer(value: Any) -> list[Any]:
    kept.append(value)
    return ["ref", len(kept) - 1]


def find(said: list[Any]) -> Any:
    if said[0] == "name":
        return vars(module)[said[1]] if said[1] in vars(module) else lost(said[1])
    return kept[said[1]]


def lost(name: str) -> Any:
    raise NameError(f"name {name!r} is not defined")


def called(target: Any, given: Any) -> list[Any]:
    """What a call gives, and what it left in the lists and dicts that it was given."""
    args, kwargs = decode(given[0], find), decode(given[1], find)
    result = encode(target(*args, **kwargs), refer)
    left = [encode(value, refer) if isinstance(value, list | dict | set | bytearray) else None for value in args]
    changed = [[i, now] for i, now in enumerate(left) if now is not None and now != given[0][1][i]]
    return ["value", result, changed]


ASKED = {
    "attr": lambda target, name: encode(getattr(target, name), refer),
    "bool": lambda target, _: bool(target),
    "len": lambda target, _: len(target),
    "str": lambda target, _: str(target),
    "repr": lambda target, _: repr(target),
    "iter": lambda target, _: refer(iter(target)),
    "item": lambda target, key: encode(target[decode(key, find)], refer),
    "eq": lambda target, other: bool(target == find(other)),
    "hash": lambda target, _: hash(target),
}


def answer(kind: str, target: Any, given: Any) -> list[Any]:
    try:
        subject = find(target)
        if kind == "call":
            return called(subject, given)
        if kind == "next":
            end = object()
            value = next(subject, end)
            return ["end"] if value is end else ["value", encode(value, refer), []]
        return ["value", ASKED[kind](subject, given), []]
    except BaseException as error:
        return failure(error)


def failure(error: BaseException) -> list[Any]:
    try:
        return ["error", [kind.__name__ for kind in type(error).__mro__], str(error)[:300]]
    except BaseException:
        return ["error", ["Exception"], type(error).__name__]


module = types.ModuleType("reply")
sys.modules["reply"] = module
ready: list[Any] = ["ready"]
try:
    exec(compile(job["setup"], "<setup>", "exec"), vars(module))
    exec(compile(job["code"], "<reply>", "exec"), vars(module))
except SystemExit:
    pass
except BaseException as error:
    ready = failure(error)
os.write(answers, line(ready))
for request in asked:
    said = line(answer(*json.loads(request)))
    while said:
        said = said[os.write(answers, said) :]
os._exit(0)
