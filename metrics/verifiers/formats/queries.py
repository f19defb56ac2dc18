"""Queries that give what the gold query gives, and queries that surely do not; runs none of them.

Gold queries that give no rows at all tell few queries apart: what leaves out their rows or adds to each is then right, and read
as a false positive. Such a task is worth little to a policy too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ratoon.metrics.verifiers.formats.values import Values

_TAIL = re.compile(r"(?:[\s;]|--[^\n'\"*$]*(?:\n|\Z))+\Z")
_QUERY = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*(?:select|with|from|values)\b", re.IGNORECASE)
_SELECT = re.compile(r"\A(\s*)select\b", re.IGNORECASE)
# Which rows come first is not said by a query around it.
_CHOOSES = re.compile(r"\b(?:limit|offset|fetch|sample|random|uuid)\b", re.IGNORECASE)
# Texts, quoted names and comments.
_PASSAGES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r"['\"$]|--|/\*")


def right(answer: str, args: Mapping[str, Any]) -> Values:
    """The gold query in other clothes by name of the format; around it only where the order of rows does not count."""
    body = _TAIL.sub("", answer)
    found = {
        "plain": answer,
        "semicolon": f"{body};",
        "commented": f"-- the rows that are asked for\n{answer}",
        "spaced": f"\n  {answer}\n\n",
    }
    if not _QUOTED.search(body):
        found["a word a line"] = "\n".join(body.split())
    ordered = args.get("ordered")
    if _nests(body) and not (is_ordered(answer) if ordered is None else ordered) and not _CHOOSES.search(body):
        found["common table"] = f"with asked as (\n{body}\n)\nselect * from asked"
        found["subquery"] = f"select * from (\n{body}\n) as asked"
    return found


def wrong(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Queries with other results, or none, by name of the mutation."""
    body = _TAIL.sub("", answer)
    found = {"no such table": "select * from no_such_table_here"}
    if _SELECT.match(body):
        found["misspelt"] = _SELECT.sub(r"\1selct", body)
    if _nests(body):
        inner = f"(\n{body}\n)"
        found |= {
            "counted": f"select count(*), 'rows in all' from {inner} as asked",
            "doubled": f"select * from {inner} as asked union all select * from {inner} as again",
            "extra column": f"select *, 'more' from {inner} as asked",
            "no rows": f"select * from {inner} as asked where false",
            "one row less": f"select * from {inner} as asked offset 1",
        }
    return found


def is_query(text: str) -> bool:
    """Whether a text reads as a query without a block around it.

    >>> is_query("-- all\\n(select 1)"), is_query("I would select 1")
    (True, False)
    """
    return _QUERY.match(text) is not None


def is_ordered(text: str) -> bool:
    """Whether a query itself orders its rows: ORDER BY outside brackets, or within brackets around all of it.

    >>> is_ordered("select a from t order by b -- ok"), is_ordered("select rank() over (order by a), 'order by' from t")
    (True, False)
    """
    bare = _PASSAGES.sub(" ", text).strip().rstrip(";").strip()
    while bare.startswith("(") and _closing(bare) == len(bare) - 1:
        bare = bare[1:-1].strip()
    return re.search(r"\border\s+by\b", _outside(bare), re.IGNORECASE) is not None


def _closing(text: str) -> int:
    """Where the bracket that opens the text is closed; -1 where nowhere."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return at
    return -1


def _outside(text: str) -> str:
    """The text without what stands in brackets."""
    depth, kept = 0, []
    for sign in text:
        depth += sign == "("
        kept.append(sign if depth == 0 else " ")
        depth -= sign == ")" and depth > 0
    return "".join(kept)


def _nests(body: str) -> bool:
    """Whether the query may stand in brackets; a semicolon in it may end a statement or stand in a text."""
    return is_query(body) and ";" not in body
