"""Programs that behave as the gold program does, and programs that surely fail its task's tests; runs none of them.

"Surely" holds for any gold that passes. A changed result is seen by the first test, where it calls one function of the program
on plain values: nothing ran before it, and what an inner call gives is left alone. `not r` is never `r`, nor as true as `r`.
"""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratoon.metrics.verifiers.formats.values import Values, other_answers

# A program that reads its own text or names may behave otherwise when something is added to it.
_NOSY = re.compile(r"\b(?:globals|locals|vars|dir|exec|eval|inspect|traceback|__doc__|__file__|__future__|__code__)\b")
_OWN_PRINT = re.compile(r"\bprint\b(?!\()|\bdef\s+print\b")
_LAZY = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_CHANGED = """

def _changed(function):
    depth = [0]

    def outermost(*args, **kwargs):
        depth[0] += 1
        try:
            result = function(*args, **kwargs)
        finally:
            depth[0] -= 1
        return result if depth[0] else {change}

    return outermost


{name} = _changed({name})
"""


class _Test(NamedTuple):
    """A test that calls one function on plain values: `want` is what it must give, None where only truth is asked for."""

    name: str
    want: ast.expr | None
    true: bool

    def value(self) -> Any:
        return None if self.want is None else ast.literal_eval(self.want)


def right(answer: str, args: Mapping[str, Any]) -> Values:
    """The gold program in other clothes by name of the format; only `plain` where it is no Python."""
    found, tree = {"plain": answer}, _parsed(answer)
    if tree is None:
        return found
    body = answer.rstrip()
    found["reformatted"] = ast.unparse(tree)
    found["commented"] = f"# First what is given, then the result.\n{body}\n\n# That is all.\n"
    if not _NOSY.search(answer):
        found["import"] = f"import itertools\n\n{body}\n"
        found["helper"] = f"{body}\n\n\ndef spare_helper(value):\n    return value\n"
        found["main guard"] = f'{body}\n\n\nif __name__ == "__main__":\n    pass\n'
    if not _OWN_PRINT.search(answer):
        # What a module of functions prints is nobody's answer, and empty last lines of a program's output do not count.
        found |= {"empty last line": f"{body}\n\nprint()\n"} if args.get("cases") else {"prints": f'{body}\n\nprint("ready")\n'}
    return found


def wrong(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Programs that fail by name of the mutation; other tasks' answers where the gold is no Python."""
    tree = _parsed(answer)
    if tree is None:
        return other_answers(answer, args, others)
    body, tests = answer.rstrip(), [test for test in map(_assert, _listed(args, "tests")) if test is not None]
    found = _wrong_results(body, tree, tests, args) if tests else {}
    outputs = [case["stdout"] for case in _listed(args, "cases") if isinstance(case, dict) and "stdout" in case]
    if outputs:
        found |= _wrong_outputs(body, [str(output) for output in outputs])
    found["raises"] = f'raise ValueError("nothing was found")\n\n{body}\n'
    if tests and (name := _needed(tests[0], tree, args)):
        found["other name"] = re.sub(rf"\b{name}\b", f"{name}_of_mine", body)
    return found | _cut(body)


def _listed(args: Mapping[str, Any], field: str) -> list[Any]:
    value = args.get(field)
    return list(value) if isinstance(value, list | tuple) else []


def _parsed(text: str) -> ast.Module | None:
    """None for what is no Python, or too deep to be read and written again."""
    try:
        tree = ast.parse(text)
        ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree


def _assert(test: object) -> ast.expr | None:
    """What a test asserts."""
    tree = _parsed(test.strip()) if isinstance(test, str) else None
    return tree.body[0].test if tree and len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert) else None


def _direct(test: ast.expr) -> _Test | None:
    """The test where it is `f(2) == 4`, `f(2)` or `not f(2)` on plain values."""
    call, want, true = test, None, True
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        call, want = test.left, test.comparators[0]
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        call, true = test.operand, False
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    given = [*call.args, *(keyword.value for keyword in call.keywords), *([want] if want else [])]
    return _Test(call.func.id, want, true) if all(map(_is_plain, given)) else None


def _is_plain(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _defined(tree: ast.Module) -> set[str]:
    """Names of functions and classes that the program surely has."""
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _in_setup(name: str, args: Mapping[str, Any]) -> bool:
    """Whether the setup, which runs after the program, may put the name right again."""
    return re.search(rf"\b{name}\b|import\s*\*", str(args.get("setup", ""))) is not None


def _wrong_results(body: str, tree: ast.Module, tests: Sequence[ast.expr], args: Mapping[str, Any]) -> Values:
    first = _direct(tests[0])
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if first is None or first.name not in functions or _in_setup(first.name, args):
        return {}
    changes = _changes(first, _tolerance(args))
    others = [test for test in map(_direct, tests[1:]) if test is not None and test.name == first.name]
    if first.want is not None and any(_tells_apart(first.value(), other) for other in others):
        changes["hard-coded"] = repr(first.value())
    return {kind: body + "\n" + _CHANGED.format(name=first.name, change=change) for kind, change in changes.items()}


def _changes(test: _Test, tolerance: float) -> Values:
    """What a call may give instead of its `result`, where no reading of the test takes it."""
    found = {"negated": "not result"}
    if test.want is not None or test.true:
        found["nothing"] = "None"
    if test.want is not None or not test.true:
        found |= {"in a list": "[result]", "as text": 'f"{result!r}"'}
    value = test.value()
    if test.want is not None and value is None:
        del found["nothing"]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != float("inf"):
        found["infinite"] = "1e999"
        # Whole numbers have no tolerance; of two floats it may take both.
        if isinstance(value, int) or (value + 1 != value and 2 * tolerance * (abs(value) + 1) < 1):
            found["one more"] = repr(value + 1) if isinstance(value, int) else "result + 1"
    return found


def _tolerance(args: Mapping[str, Any]) -> float:
    value = args.get("tolerance", 1e-9)
    return float(value) if isinstance(value, int | float) else 1.0


def _tells_apart(value: Any, test: _Test) -> bool:
    """Whether a function that always gives `value` fails the test; only of values that no tolerance touches."""
    exact = (int, str, type(None))
    return test.want is not None and isinstance(value, exact) and isinstance(test.value(), exact) and value != test.value()


def _needed(test: ast.expr, tree: ast.Module, args: Mapping[str, Any]) -> str | None:
    """A name of the program without which the test cannot be evaluated."""
    if any(isinstance(node, _LAZY) or (isinstance(node, ast.Compare) and len(node.ops) > 1) for node in ast.walk(test)):
        return None
    used = sorted({node.id for node in ast.walk(test) if isinstance(node, ast.Name)} & _defined(tree))
    lacking = [name for name in used if not hasattr(builtins, name) and not _in_setup(name, args)]
    body = ast.unparse(tree)
    return lacking[0] if lacking and not _NOSY.search(body) and "import *" not in body else None


def _wrong_outputs(body: str, outputs: Sequence[str]) -> Values:
    """Programs that print other lines; what is added comes first, since the gold may leave before its end."""
    found = {
        "extra line": f'print("The result is")\n{body}\n',
        "label": f'import sys\n\nsys.stdout.write("Result: ")\n{body}\n',
    }
    if any(output.strip() for output in outputs):
        found["never called"] = f"def main():\n{textwrap.indent(body, '    ')}\n"
    if len({tuple(line.rstrip() for line in output.rstrip().splitlines()) for output in outputs}) > 1:
        found["hard-coded"] = f"print({outputs[0].rstrip()!r})\n"
    return found


def _cut(body: str) -> Values:
    """The longest beginning within the first half that is no Python, whatever blank lines follow; empty where there is none."""
    cuts = (body[:end] for end in range(len(body) // 2, 0, -1))
    return next(({"cut": cut} for cut in cuts if _parsed(cut + "\n\n") is None), {})
