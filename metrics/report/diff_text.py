"""A comparison as Markdown for a pull request, and as plain text. What a model wrote stands in code spans it cannot leave."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ratoon.terminal import plain

_SHORT = 160


def markdown(told: Mapping[str, Any]) -> str:
    """The whole comparison: rules first, then rows, numbers that changed, and some rows of each kind."""
    old, new = told["old"], told["new"]
    failed = [rule for rule in told["rules"] if rule["fails"]]
    head = f"{len(failed)} of {len(told['rules'])} rules failed" if told["rules"] else "no rule was given"
    lines = [
        f"### ratoon diff: {head}",
        "",
        f"{code(old['name'])} ({old['rows']} rows) → {code(new['name'])} ({new['rows']} rows)",
    ]
    if told["rules"]:
        lines += ["", *_table(["rule", "", "value", "95 % interval", "why"], [_rule(rule) for rule in told["rules"]])]
    lines += ["", *_table(["rows", "value"], [[name, number(value)] for name, value in told["rows"].items()])]
    for title, counts in (("Changed in", told.get("columns")), ("Spelled otherwise", told.get("spelled_otherwise"))):
        if counts:
            lines += ["", f"{title}: {', '.join(f'{code(name)} {n}' for name, n in counts.items())}."]
    shown = [one for one in told["differences"] if one["detectable"]]
    if shown:
        cells = [
            [code(d["metric"]), number(d["old"]), number(d["new"]), number(d["change"]), interval(d), str(d["n"])]
            for d in shown
        ]
        lines += ["", *_table(["number", "old", "new", "change", "95 % interval", "n"], cells)]
    same = len(told["differences"]) - len(shown)
    lines += ["", f"{same} numbers without a change that an interval tells, {len(told['not_compared'])} not compared."]
    for kind, rows in told["examples"].items():
        lines += _examples(kind, rows)
    return "\n".join(lines) + "\n"


def _rule(rule: Mapping[str, Any]) -> list[str]:
    return [
        code(rule["rule"]),
        "**fails**" if rule["fails"] else "ok",
        number(rule["value"]),
        interval(rule),
        code(rule["why"]),
    ]


def _examples(kind: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = [[code(r["row_id"]), code(r["prompt"]), code(r["completion"]), code(r["why"])] for r in rows]
    title = f"<details><summary>{kind.replace('_', ' ')}: the first {len(rows)}</summary>"
    return ["", title, "", *_table(["row", "prompt", "reply", "why"], cells), "", "</details>"]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *rows)]


def code(text: Any) -> str:
    """A text as a code span on one line of a table: no markup, link, mention or line break of its own; a dash for null.

    >>> code("a | `b`")
    '`` a \\\\| `b` ``'
    """
    if text is None or not str(text).strip():
        return "–"
    line = " ".join(plain(str(text)).split())
    line = (line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…").replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    return f"`{line}`" if len(fence) == 1 else f"{fence} {line} {fence}"


def number(value: Any) -> str:
    """A number to four digits; a dash for null."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def interval(one: Mapping[str, Any]) -> str:
    """`[lo, hi]`, or a dash."""
    return "–" if one["lo"] is None else f"[{number(one['lo'])}, {number(one['hi'])}]"
