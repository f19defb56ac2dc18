"""Programs that differ from a gold program in one operator, bound or return (mutants, DeMillo et al., 1978); runs none of them.

A task's tests should tell most of them from the gold. Not all: a mutant may behave as the gold does on every input.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from itertools import zip_longest

from ratoon import ids
from ratoon.metrics.verifiers.formats.values import Values

_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_LONGEST = 20_000


def mutants(program: str, most: int, seed: int = 0) -> Values:
    """At most `most` mutants by what was changed, kinds in turn and places by hash; none of what is no Python."""
    try:
        tree = ast.parse(program[:_LONGEST])
        same = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, str] = {}
    for kind, at, line in _in_turn(tree, seed):
        other = copy.deepcopy(tree)
        _change(list(ast.walk(other))[at], kind)
        text = ast.unparse(ast.fix_missing_locations(other))
        if text != same:
            found.setdefault(text, f"{kind} in line {line}")
        if len(found) >= most:
            break
    names = list(found.values())
    return {f"{name}, {i + 1}" if name in names[:i] else name: text for i, (text, name) in enumerate(found.items())}


def _in_turn(tree: ast.Module, seed: int) -> Iterator[tuple[str, int, int]]:
    """Kind, place and line of every change there is: kinds in turn, the places of a kind by hash."""
    by_kind: dict[str, list[tuple[str, int, int]]] = {}
    for at, node in enumerate(ast.walk(tree)):
        if (kind := _kind(node)) is not None:
            by_kind.setdefault(kind, []).append((kind, at, getattr(node, "lineno", 0)))
    kinds = [sorted(places, key=lambda one: ids.derive_seed(seed, one[0], one[1])) for _, places in sorted(by_kind.items())]
    for turn in zip_longest(*kinds):
        yield from filter(None, turn)


def _kind(node: ast.AST) -> str | None:
    """What can be changed of a node; None where nothing can."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return "operator" if type(node.op) in _BINARY else None
    if isinstance(node, ast.Compare):
        return "comparison" if type(node.ops[0]) in _COMPARED else None
    if isinstance(node, ast.BoolOp):
        return "and or"
    if isinstance(node, ast.Constant):
        return "bound" if type(node.value) is int else None
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return "condition"
    return "return" if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value) else None


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _change(node: ast.AST, kind: str) -> None:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = _BINARY[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[0] = _COMPARED[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Return):
        node.value = ast.Constant(None)
