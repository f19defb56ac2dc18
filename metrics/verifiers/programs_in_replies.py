"""Which part of a reply is its program; runs nothing, and knows of tests only the names that they ask for.

Of several blocks the one counts that defines what the tests need, or (for whole programs) that reads its input: what follows it
is often a use of it, or its output. A reply without a fence is a program where it parses as one and does something.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from ratoon.metrics.verifiers.blocks import blocks

_PYTHON = {"python", "py", "python3"}
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0|\bos\.read\b|\bfileinput\b")


def program(text: str, extract: str, names: Collection[str], reads: bool) -> str | None:
    """The program of a reply, or None. `names` are those that tests need; `reads` says that it is given input."""
    if extract == "whole":
        return text
    found = blocks(text)
    named = [block.body for block in found if block.language in _PYTHON]
    bodies = named or [block.body for block in found if not block.language and does_something(block.body)]
    if not found and does_something(text):
        bodies = [text]
    if not bodies:
        return None
    fitting = [body for body in bodies if (defines(body, names) if names else not reads or _READS.search(body))]
    return (fitting or bodies)[-1 if extract == "last_block" else 0]


def defines(body: str, names: Iterable[str]) -> bool:
    """Whether a program gives one of `names` a meaning at its outermost level."""
    one = "|".join(map(re.escape, names)) or r"(?!)"
    return (
        re.search(rf"^(?:async\s+def|def|class)\s+(?:{one})\b|^(?:{one})\s*(?::[^\n=]+)?=(?!=)", body, re.MULTILINE) is not None
    )


def does_something(text: str) -> bool:
    """Whether a text is Python, and more than a name or a value standing there.

    >>> does_something("def f():\\n    return 1"), does_something("Done"), does_something("sum = 4"), does_something("4")
    (True, False, True, False)
    """
    tree = parsed(text)
    return tree is not None and any(
        not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in tree.body
    )  # fmt: skip


def parsed(text: str) -> ast.Module | None:
    """None for what is no Python, or too deep to be read."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=1024)
def asked_names(tests: tuple[str, ...]) -> frozenset[str]:
    """Names of functions and classes that tests use and do not define, Python's own aside."""
    loads, bound = set[str](), set[str]()
    for tree in filter(None, map(parsed, tests)):
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (loads if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.ImportFrom) and node.module == "solution":
                loads |= {alias.name for alias in node.names}
            elif isinstance(node, ast.alias):
                bound.add((node.asname or node.name).split(".")[0])
    return frozenset(name for name in loads - bound if not hasattr(builtins, name))


@lru_cache(maxsize=4096)
def outermost_names(text: str) -> frozenset[str]:
    """What a program defines at its outermost level."""
    tree = parsed(text)
    found = set[str]()
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)
