"""Count what makes the code hard to read: long functions and lines, formatter exceptions, locals named by bare participles.

    .venv/bin/python tools/style_counts.py [FOLDER]    # this checkout, or another one

Knows no package but by its folder; `tests/test_boundaries.py` holds the sizes of functions to its limits.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ratoon", "generators", "metrics", "filters", "sft", "pipelines")
LONG_LINE = 100
# Participles that say what was done to a thing, not which thing it is.
PARTICIPLES = {
    "asked", "chosen", "done", "drawn", "found", "given", "held", "kept", "known", "left", "made", "said", "seen", "taken",
    "told", "used", "wanted",
}  # fmt: skip


def sources(root: Path) -> list[str]:
    """The text of every Python file of the packages under `root`."""
    return [path.read_text(encoding="utf-8") for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def function_lengths(sources: Sequence[str]) -> list[int]:
    """The lines of every function, docstring and decorators included, shortest first."""
    functions = (node for source in sources for node in _functions(ast.parse(source)))
    return sorted((node.end_lineno or node.lineno) - _first_line(node) + 1 for node in functions)


def participle_locals(source: str) -> Counter[str]:
    """How often a name of PARTICIPLES is bound inside the functions of one file."""
    bound = Counter[str]()
    for function in _functions(ast.parse(source)):
        names = {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in PARTICIPLES
        }
        bound.update(names)
    return bound


def counts(root: Path) -> dict[str, str]:
    """Each count by name, as text."""
    texts = sources(root)
    lines = [line for text in texts for line in text.splitlines()]
    lengths = function_lengths(texts)
    long = sum(len(line) > LONG_LINE for line in lines)
    code, comments = _code_and_comment_lines(texts)
    return {
        "functions": f"{len(lengths):,}: {median(lengths):g} lines (median), {quantiles(lengths, n=10)[-1]:g} (p90), "
        f"{lengths[-1]} (longest)",
        f"lines over {LONG_LINE} characters": f"{long:,} of {len(lines):,} ({long / len(lines):.1%})",
        "# fmt: skip": f"{sum('# fmt: skip' in line for line in lines):,}",
        "locals named by bare participles": f"{sum(participle_locals(text).total() for text in texts):,}",
        "Any": f"{sum(_any(text) for text in texts):,}",
        "comment lines": f"{comments:,} ({comments / code:.1%} of code lines)",
    }


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _any(source: str) -> int:
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(source)))


def _code_and_comment_lines(sources: Sequence[str]) -> tuple[int, int]:
    """Lines with code, docstrings among them, and lines that are a comment alone."""
    code, comments = 0, 0
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for source in sources:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        rows = {row for token in tokens if token.type not in skipped for row in range(token.start[0], token.end[0] + 1)}
        code += len(rows)
        comments += sum(token.type == tokenize.COMMENT and token.start[0] not in rows for token in tokens)
    return code, comments


if __name__ == "__main__":
    for name, value in counts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT).items():
        print(f"{name:36} {value}")
