"""Planted false positive and false negative rates of the shipped verifiers, and those of each family, as Markdown tables.

Usage: python benchmarks/planted.py [--probes 1000] [--workers 2] [--only NAME-PREFIX]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import sys
from typing import Any

import pyarrow as pa

from ratoon import schema
from ratoon.generators.tasks import propose_all
from ratoon.generators.tasks.reasoning_gym import ReasoningGymConfig
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifier_errors.error_rates import Family, MeasureConfig, measure
from ratoon.metrics.verifiers.pool import VerifierPool

_EXPRESSIONS = ("x+1", "\\sqrt{2}", "\\frac{\\pi}{3}", "x^2-1", "2n", "(0,1)", "\\{1,2\\}", "3\\sqrt{5}", "e^{2}")
_WORDS = ("red apple", "blue", "Green tea", "black", "a yellow sun", "New York", "42", "H2O")
_GYM = ("chain_sum", "countdown", "gcd", "spell_backward", "knights_knaves", "sudoku", "leg_counting", "letter_counting",
        "number_sorting", "decimal_arithmetic")  # fmt: skip

_FUNCTIONS = (
    "def solve(n):\n    return n + {k}",
    "def solve(n):\n    # by its divisor\n    return n % {k} == 0",
    "def solve(n):\n    return 1 if n < 1 else {k} * solve(n - 1)",
    'def solve(n):\n    """Odd numbers."""\n    return [x for x in range({k}) if x % 2][:n]',
    "import math\n\n\ndef solve(n):\n    return math.sqrt(n + {k})",
    "class Kept:\n    seen = {{}}\n\n\ndef solve(n):\n    if n not in Kept.seen:\n"
    "        Kept.seen[n] = str(n) * {k}\n    return Kept.seen[n]",
    "def solve(n):\n    return None if n < {k} else (n, n - {k})",
    "from collections import Counter\n\nsolve = lambda n: dict(Counter(str(n * {k})))  # digits",
)
_PROGRAMS = (
    "n = int(input())\nprint(n * {k})",
    "import sys\n\n\ndef main():\n    for n in map(int, sys.stdin):\n        print(n, n + {k})\n\n\n"
    'if __name__ == "__main__":\n    main()',
    "n = int(input())\nfor i in range(n):\n    print(' '.join(str(i * j) for j in range({k})))",
    "import sys\n\nn = int(sys.stdin.readline())\nif n < {k}:\n    print('small')\n    sys.exit()\n"
    "sys.stdout.write(f'{{n // {k}}}\\n')",
)
_QUERIES = (
    "select name, price from goods where price > {k}",
    "SELECT kind, count(*) AS n FROM goods GROUP BY kind HAVING count(*) < {k} + 9;",
    "with dear as (\n    select * from goods where price <= {k} * 4 -- in euros\n)\n"
    "select kind, avg(price) from dear group by kind",
    "select g.name, s.day from goods g left join sold s on s.id = g.id and s.pieces < {k}",
    "select name || ';' from goods union all select day from sold where pieces >= {k} - 3",
    "select max(price) * {k} from goods",
)
_LONG = {"timeout_s": 20.0}  # a busy machine is no wrong program
_SHOP = (
    "create table goods (id int, name varchar, kind varchar, price double);"
    "create table sold (id int, day varchar, pieces int);"
    "insert into goods select i, 'g' || i, 'k' || i % 4, i * 1.1 from range(40) r(i);"
    "insert into sold select i % 30, 'd' || i % 7, i % 9 from range(90) r(i);"
)


def numbers(n: int) -> list[str]:
    """Whole and negative numbers, large ones, fractions, decimals: the answers of a mixed arithmetic set."""
    draw = random.Random(0)
    kinds = (
        lambda: str(draw.randint(0, 99)), lambda: str(-draw.randint(1, 500)), lambda: str(draw.randint(1000, 99_999)),
        lambda: f"{draw.randint(1, 30)}/{draw.randint(2, 9)}", lambda: str(draw.randint(1, 999) / 8),
    )  # fmt: skip
    return [kinds[i % len(kinds)]() for i in range(n)]


def tasks(verifier: str, answers: list[str], **args: Any) -> pa.Table:
    """One task an answer."""
    return told(verifier, [(answer, args) for answer in answers])


def function_tasks(n: int, place: str) -> pa.Table:
    """Functions of one number, each with three tests, whose values Python gives."""
    rows = []
    for i, program in enumerate(filled(_FUNCTIONS, n)):
        names: dict[str, Any] = {}
        exec(program, names)
        rows.append(
            (program, {"extract": place, **_LONG, "tests": [asserted(x, names["solve"](x)) for x in (i % 5 + 1, 7, 30)]})
        )
    return told("code", rows)


def asserted(x: int, value: Any) -> str:
    """A test in the three forms there are."""
    return f"assert {'' if value else 'not '}solve({x})" if isinstance(value, bool) else f"assert solve({x}) == {value!r}"


def program_tasks(n: int) -> pa.Table:
    """Programs that read a number and print."""
    cases = [[{"stdin": f"{x}\n", "stdout": printed(p, f"{x}\n")} for x in (3, 8)] for p in filled(_PROGRAMS, n)]
    return told("code", [(p, {"cases": case, **_LONG}) for p, case in zip(filled(_PROGRAMS, n), cases, strict=True)])


def printed(program: str, given: str) -> str:
    """What one of our own programs prints."""
    out, before, sys.stdin = io.StringIO(), sys.stdin, io.StringIO(given)
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            exec(program, {"__name__": "__main__"})
    finally:
        sys.stdin = before
    return out.getvalue()


def query_tasks(n: int, *, ordered: bool) -> pa.Table:
    """Queries on a small shop."""
    args = {"database": _SHOP, "ordered": ordered, **_LONG}
    golds = [q.rstrip(";") + "\norder by all;" if ordered else q for q in filled(_QUERIES, n)]
    return told("sql", [(q, args) for q in golds])


def filled(templates: tuple[str, ...], n: int) -> list[str]:
    """So many golds, no two alike."""
    return [templates[i % len(templates)].format(k=2 + i // len(templates)) for i in range(n)]


def told(verifier: str, rows: list[tuple[str, dict[str, Any]]]) -> pa.Table:
    """One task a gold with arguments of its own."""
    made = [
        {"task_id": f"t{i:05d}", "family": verifier, "answer": a, "verifier": verifier, "verifier_args": json.dumps(args)}
        for i, (a, args) in enumerate(rows)
    ]
    return schema.from_rows("tasks", made)


def sets(n: int) -> dict[str, pa.Table]:
    """What is measured, by the words of its row."""
    mixed, words, letters = numbers(n), [_WORDS[i % len(_WORDS)] for i in range(n)], ["ABCDE"[i % 5] for i in range(n)]
    expressions = [_EXPRESSIONS[i % len(_EXPRESSIONS)] for i in range(n)]
    made = {f"numeric, {place}": tasks("numeric", mixed, extract=place) for place in ("last", "boxed", "tagged")}
    made |= {
        f"math, numbers, boxed_only = {str(only).lower()}": tasks("math", mixed, boxed_only=only) for only in (True, False)
    }
    made |= {"math, expressions": tasks("math", expressions)}
    made |= {f"exact, {place}": tasks("exact", words, extract=place) for place in ("whole", "last_line", "boxed", "tagged")}
    made |= {f"choice, {place}": tasks("choice", letters, extract=place) for place in ("any", "boxed")}
    made |= {f"code, functions, {place}": function_tasks(n, place) for place in ("last_block", "first_block", "whole")}
    made |= {"code, programs": program_tasks(n)}
    made |= {f"sql{', ordered' if ordered else ''}": query_tasks(n, ordered=ordered) for ordered in (False, True)}
    gym = propose_all([ReasoningGymConfig(dataset=name, n=n // len(_GYM)) for name in _GYM], 0)
    return made | {f"reasoning_gym, {len(_GYM)} generators": gym.tasks}


def said(rate: Estimate | None) -> str:
    return "none" if rate is None else f"{rate.value:.1%} ({rate.lo:.1%} to {rate.hi:.1%}) of {rate.n}"


def number(rate: Estimate | None) -> str:
    return "none" if rate is None else f"{rate.value:.2f} ({rate.lo:.2f} to {rate.hi:.2f})"


def errs(family: Family) -> bool:
    return any(rate is not None and rate.value > 0 for rate in (family.fpr, family.fnr))


def worth(family: Family) -> float:
    return 1 - sum(rate.value for rate in (family.fpr, family.fnr) if rate is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name begins so")
    options = parser.parse_args()
    print("| verifier | false positives | false negatives | J | misread formats | misread traps |\n|---|---|---|---|---|---|")
    families: list[tuple[str, Family]] = []
    with VerifierPool(options.workers, timeout_s=60.0) as pool:
        for name, table in ((name, table) for name, table in sets(options.probes).items() if name.startswith(options.only)):
            (found,) = measure(table, pool, MeasureConfig(probes=options.probes), 0)
            usual = [f"{f.format} {f.errors}/{f.n}" for f in found.formats if f.errors and f.asked and not f.trap]
            traps = [f"{f.format} {f.errors}/{f.n}" for f in found.formats if f.errors and f.trap]
            cells = (
                name,
                said(found.fpr),
                said(found.fnr),
                number(found.j),
                "; ".join(usual) or "none",
                "; ".join(traps) or "none",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
            families += [(name, family) for family in found.families]
    right = sum(not errs(family) for _, family in families)
    print(f"\n{len(families)} families, {right} of them without an error; the others, worst first:\n")
    print("| verifier | family | asked for | false positives | false negatives | J |\n|---|---|---|---|---|---|")
    for name, family in sorted(families, key=lambda pair: worth(pair[1])):
        if errs(family):
            cells = (name, family.family, "yes" if family.asked else "no", said(family.fpr), said(family.fnr), number(family.j))
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
