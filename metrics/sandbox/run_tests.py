"""Runs inside a sandbox of its own: a task's tests, with the reply's program behind a pipe. Never imported by ratoon.

Names that the tests do not define themselves stand for the program's. What it answers is made of plain types here, by this
side: nothing of the program's own is ever asked to compare itself with what is expected, or is told it.
"""

import ast
import builtins
import hashlib
import json
import math
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

from values import decode, encode, line

job = json.load(sys.stdin)
asks, answers = int(sys.argv[1]), os.fdopen(int(sys.argv[2]), "rb")
sys.path[:0] = sys.argv[3:]
channel = os.dup(1)
for number in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)

LONGEST = 8 * 2**20
SAME = "_same_within_tolerance"
said = hashlib.sha256()
requests = 0


class Unsendable(BaseException):
    """A test hands something to the program that has no plain form."""


class Remote:
    """Something of the program's: a name of its module, or an object that it gave."""

    def __init__(self, *target: Any) -> None:
        self.__dict__["_target"] = target

    def __getattr__(self, name: str) -> Any:
        return ask("attr", self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            given = [encode(list(args), refer), encode(kwargs, refer)]
        except ValueError as error:
            raise Unsendable(str(error)) from None
        return ask("call", self, given, args)

    def __bool__(self) -> bool:
        return ask("bool", self) is True

    def __len__(self) -> int:
        return int(ask("len", self))

    def __str__(self) -> str:
        return str(ask("str", self))

    def __repr__(self) -> str:
        return str(ask("repr", self))

    def __hash__(self) -> int:
        return int(ask("hash", self))

    def __getitem__(self, key: Any) -> Any:
        return ask("item", self, encode(key, refer))

    def __iter__(self) -> Iterator[Any]:
        through = ask("iter", self)
        while (value := ask("next", through)) is not END:
            yield value

    def __next__(self) -> Any:
        if (value := ask("next", self)) is END:
            raise StopIteration
        return value

    def __contains__(self, wanted: Any) -> bool:
        return any(same(value, wanted) for value in self)

    def __eq__(self, other: object) -> bool:
        """The program's own objects may say that they are equal to each other, and to nothing else."""
        return isinstance(other, Remote) and ask("eq", self, list(other._target)) is True


END = object()


def refer(value: Any) -> list[Any]:
    if isinstance(value, Remote):
        return list(value._target)
    raise Unsendable(f"a test gives the program a {type(value).__name__}, which cannot be sent to it")


def found(target: list[Any]) -> Any:
    if target[0] != "ref" or not isinstance(target[1], int):
        raise ValueError("no value")
    return Remote("ref", target[1])


def ask(kind: str, subject: Remote, given: Any = None, args: tuple[Any, ...] = ()) -> Any:
    """The program's answer; what it raises is raised, and what it changed in lists and dicts it was given is changed."""
    global requests
    requests += 1
    try:
        os.write(asks, line([kind, list(subject._target), given]))
    except OSError:
        raise RuntimeError("the program has ended") from None
    answer = heard()
    if answer[0] == "end":
        return END
    if answer[0] != "value":
        raised(answer)
    for at, now in answer[2]:
        put_back(args[at], decode(now, found))
    return decode(answer[1], found)


def heard() -> list[Any]:
    """The next message, whatever was written instead of one."""
    text = answers.readline(LONGEST)
    if not text.endswith(b"\n"):
        raise RuntimeError("the program has ended" if len(text) < LONGEST else "a result is too large")
    try:
        answer = json.loads(text)
        assert answer[0] in ("value", "end", "error", "ready")
        said.update(line(in_order(answer[:2] if answer[0] != "error" else answer[1][:1])))
    except Exception:
        raise RuntimeError("the program wrote no result") from None
    return answer


def in_order(told: Any) -> Any:
    """The same for dicts that are equal."""
    if not isinstance(told, list):
        return told
    told = [in_order(part) for part in told]
    return [told[0], sorted(told[1], key=json.dumps)] if told[:1] in (["dict"], ["Counter"]) else told


def raised(answer: list[Any]) -> None:
    """Raise what the program raised: the nearest exception that Python itself has."""
    for name in answer[1]:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                error = kind.__new__(kind)
            except TypeError:
                continue
            error.args = (str(answer[2]),)
            raise error
    raise RuntimeError(f"{answer[1][0]}: {answer[2]}")


def put_back(value: Any, now: Any) -> None:
    if isinstance(value, list | bytearray) and isinstance(now, list | bytearray):
        value[:] = now
    elif isinstance(value, dict | set) and type(now) is type(value):
        value.clear()
        value.update(now)


def same(a: Any, b: Any) -> bool:
    """Python's `==`, except that floats have a tolerance, also within lists, tuples and dicts."""
    if isinstance(a, Remote) or isinstance(b, Remote):
        return bool(a == b)
    if a == b:
        return True
    if isinstance(a, float | int) and isinstance(b, float | int):
        return (isinstance(a, float) or isinstance(b, float)) and near(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return isinstance(a, list) == isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return False


def near(a: float, b: float) -> bool:
    try:
        return math.isclose(a, b, rel_tol=job["tolerance"])
    except OverflowError:
        return False


class Tolerant(ast.NodeTransformer):
    """Lets `==`, `!=`, and `is` beside a literal, compare within the tolerance."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        literal = isinstance(node.comparators[0], ast.Constant) and not isinstance(node.comparators[0].value, bool | None)
        if isinstance(node.ops[0], ast.Eq | ast.NotEq) or (literal and isinstance(node.ops[0], ast.Is | ast.IsNot)):
            equal = ast.Call(ast.Name(SAME, ast.Load()), [node.left, node.comparators[0]], [])
            return equal if isinstance(node.ops[0], ast.Eq | ast.Is) else ast.UnaryOp(ast.Not(), equal)
        return node


def bound(tree: ast.AST) -> set[str]:
    """Names that the test itself gives a meaning."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def of_program(tree: ast.AST, names: dict[str, Any]) -> set[str]:
    """Names that can only be the program's; a name of Python's is, where the gold program bears it."""
    loads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    given = {name for name in loads if hasattr(builtins, name)} - set(job["gold_names"])
    return loads - bound(tree) - set(names) - given


def check(text: str, names: dict[str, Any]) -> None:
    """Run one test; functions that it only defines (`check(candidate)`, `test_…()`) are called."""
    tree = ast.parse(text.strip())
    names |= {name: Remote("name", name) for name in of_program(tree, names)}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    exec(compile(ast.fix_missing_locations(Tolerant().visit(tree)), "<test>", "exec"), names)
    for name in defined:
        if name == "check" and name not in called:
            names[name](Remote("name", job["entry_point"]))
        elif name.startswith("test") and name not in called:
            names[name]()


def why(error: BaseException) -> str:
    """What went wrong, in a line; nothing of an assertion that does not hold."""
    message = str(error.args[0]) if error.args else ""
    if isinstance(error, RuntimeError | AssertionError):
        return message
    return f"{type(error).__name__}: {message}"


def judged(text: str, names: dict[str, Any]) -> list[Any]:
    before = requests
    try:
        check(text, names)
    except Unsendable as error:
        return ["abstain", str(error)]
    except BaseException as error:
        return ["fail", why(error)]
    return ["pass", ""] if requests > before else ["abstain", "it asks the program for nothing"]


def tell(number: int, status: str, message: str) -> None:
    os.write(channel, line([number, status, message[:300]]))


solution = types.ModuleType("solution")
solution.__getattr__ = lambda name: Remote("name", name)  # type: ignore[method-assign]
sys.modules["solution"] = solution
names: dict[str, Any] = {"__name__": "tests", SAME: same}
try:
    exec(compile(job["setup"], "<setup>", "exec"), names)
except BaseException as error:
    tell(-1, "abstain", f"setup raises {type(error).__name__}: {error}")
    os._exit(0)
try:
    first = heard()
    if first[0] != "ready":
        raised(first)
except Exception as error:
    tell(-1, "fail", why(error))
    os._exit(0)
if job["entry_point"]:
    names["candidate"] = Remote("name", job["entry_point"])
for number, test in enumerate(job["tests"]):
    tell(number, *judged(test, names))
tell(-2, "said", said.hexdigest()[:16])
os._exit(0)
