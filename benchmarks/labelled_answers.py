"""Math-Verify's own labelled tests, judged by Math-Verify alone and by our `math`. Prints one JSON object.

Usage: python benchmarks/labelled_answers.py

The sdist (the wheel holds no tests) comes through pip into a temporary folder; its cases are read with `ast`, nothing of it is
run or kept. Bar: never fewer right than Math-Verify alone, but for cases whose label is wrong, which are named in WRONG_LABELS.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import math_verify

from ratoon.metrics.verifiers.pool import Item, VerifierPool

SDIST = "math-verify==0.9.0"
# (gold, reply): why the label is wrong.
_LINES = "the reply says 9; the label is about one extractor's line breaks"
WRONG_LABELS: dict[tuple[str, str], str] = {
    ("$9$", "Answer $ \n 9 \n $"): _LINES,
    ("$9$", "Answer \\( \n 9 \n \\)"): _LINES,
    ("$x \\in [-2,7]$", "$-2 \\\\le x \\\\le 7$"): "the two are the same interval; the label is about an option that is off",
}


class Case(NamedTuple):
    """One labelled pair, and what its test says besides."""

    test: str
    gold: str
    reply: str
    right: bool
    options: dict[str, Any]


def fetched(folder: Path) -> list[Path]:
    """The sdist's test files. Raises CalledProcessError where pip cannot fetch it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-d", str(folder), SDIST], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return sorted(folder.glob("*/tests/test_*.py"))


def cases(path: Path) -> Iterator[Case]:
    """The parametrised rows of a test file that have a gold, a reply and a label; rows that are no literals are left out."""
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for mark in function.decorator_list:
            if isinstance(mark, ast.Call) and len(mark.args) == 2 and ast.unparse(mark.func).endswith("parametrize"):
                yield from _rows(f"{path.stem}::{function.name}", function, mark)


def _rows(test: str, function: ast.FunctionDef, mark: ast.Call) -> Iterator[Case]:
    names = [name.strip() for name in ast.literal_eval(mark.args[0]).split(",")]
    if names[:2] != ["gold", "pred"] or not isinstance(mark.args[1], ast.List):
        return
    fixed = _keywords(function)
    for row in mark.args[1].elts:
        try:
            values = dict(zip(names, ast.literal_eval(row), strict=True))
        except ValueError:
            continue
        right = bool(values["expected"] if "expected" in values else values["result"])
        options = {k: v for k, v in values.items() if k in ("precision", "strict", "allow_set_relation_comp")}
        yield Case(test, values["gold"], values["pred"], right, fixed | options)


def _keywords(function: ast.FunctionDef) -> dict[str, Any]:
    """The literal arguments of the comparison that a test calls."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and ast.unparse(node.func) == "compare_strings"]
    return {
        k.arg: ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg and not isinstance(k.value, ast.Name)
    }


def alone(text: str, answer: str, args: dict[str, Any]) -> bool:
    """Math-Verify's verdict, asked as its own tests ask it."""
    types = args.get("match_types", ["latex", "expr"])
    targets = [math_verify.LatexExtractionConfig(boxed_match_priority=0)] if "latex" in types else []
    targets += [math_verify.ExprExtractionConfig()] if "expr" in types else []
    gold, said = (math_verify.parse(x, targets, parsing_timeout=None) for x in (answer, text))
    kept = {k: args[k] for k in ("strict", "allow_set_relation_comp") if k in args}
    return bool(math_verify.verify(gold, said, float_rounding=args.get("precision", 6), timeout_seconds=None, **kept))


def ours(case: Case) -> Item:
    """The case as our verifier is asked: tests put answers where nothing announces them."""
    args = {"unanchored": True, "float_rounding": case.options.get("precision", 6), "strict": case.options.get("strict", True)}
    return Item("math", case.reply, case.gold, args)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = [case for path in fetched(Path(folder)) for case in cases(path)]
    import labelled_answers as importable  # worker processes import by name, and the running script has none

    with VerifierPool(2, 30.0, extra={"alone": importable.alone}) as pool:
        theirs = pool.run([Item("alone", case.reply, case.gold, case.options) for case in found])
        mine = pool.run([ours(case) for case in found])
    rows = [
        {"test": case.test, "gold": case.gold, "reply": case.reply, "label": case.right,
         "math-verify": one.status, "ours": two.status, "detail": two.detail,
         "wrong_label": WRONG_LABELS.get((case.gold, case.reply))}
        for case, one, two in zip(found, theirs, mine, strict=True)
    ]  # fmt: skip
    right = {name: sum((row[name] == "pass") is row["label"] for row in rows) for name in ("math-verify", "ours")}
    disagreements = [row for row in rows if row["math-verify"] != row["ours"] or (row["ours"] == "pass") is not row["label"]]
    lost = [row for row in disagreements if not row["wrong_label"] and row["ours"] != row["math-verify"]
            and (row["ours"] == "pass") is not row["label"]]  # fmt: skip
    print(
        json.dumps(
            {"sdist": SDIST, "cases": len(rows), "right": right, "lost": len(lost), "disagreements": disagreements}, indent=2
        )
    )


if __name__ == "__main__":
    main()
