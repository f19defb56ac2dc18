"""Gold answers as they lie in files, made the answers that a verifier compares: cut out, unboxed, looked up among choices.

A list of golds gives several, of which any will do. Knows no verifier.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ratoon.errors import ConfigError
from ratoon.rows.record import golds as texts_of_golds
from ratoon.rows.record import texts_of

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")


class NoGold(ValueError):
    """A gold answer that is not what the rule says it is."""


class GoldRule(NamedTuple):
    """How a gold is read, in this order: the text behind the last `after`, the last match of `regex` (its first group where it
    has one), the content of the last box, and the choice in column `index_into` that it names by place (from 0) or letter."""

    after: str | None = None
    regex: str | None = None
    boxed: bool = False
    index_into: str | None = None


AS_IT_STANDS = GoldRule()


def checked_regex(regex: str) -> str:
    """`regex`. Raises ConfigError where it is none."""
    try:
        re.compile(regex)
    except re.error as error:
        raise ConfigError(
            f"answer_regex {regex!r} is no regular expression: {error}", "in TOML, '…' keeps backslashes"
        ) from None
    return regex


def golds(value: Any, row: Mapping[str, Any], rule: GoldRule = AS_IT_STANDS) -> list[str]:
    """The gold answers of a value, the first one first, each once; none where it is null. Raises NoGold.

    >>> golds("3 + 4 = 7\\n#### 7", {}, GoldRule(after="####"))
    ['7']
    >>> golds(2, {"choices": ["red", "green", "blue"]}, GoldRule(index_into="choices"))
    ['blue']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, Mapping) and not value.keys() & {"text", "value", "aliases"}:
        raise NoGold(f"the answer is a {type(value).__name__}, not a text or a number")
    many = texts_of_golds(value) if isinstance(value, list | tuple | Mapping) else [_text(value)]
    return list(dict.fromkeys(_ruled(gold, row, rule) for gold in many))


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NoGold(f"the answer is a {type(value).__name__}, not a text or a number")
    return str(value)


def _ruled(gold: str, row: Mapping[str, Any], rule: GoldRule) -> str:
    try:
        gold.encode()
    except UnicodeEncodeError:
        raise NoGold("the answer is not valid UTF-8") from None
    if rule.after is not None:
        _, mark, gold = gold.rpartition(rule.after)
        if not mark:
            raise NoGold(f"the answer has no {rule.after!r}: {_short(gold)}")
        gold = gold.strip()
    if rule.regex is not None:
        gold = _matched(gold, rule.regex)
    if rule.boxed:
        gold = _unboxed(gold)
    return gold if rule.index_into is None else _choice(gold, row, rule.index_into)


def _matched(gold: str, regex: str) -> str:
    matches = list(re.finditer(regex, gold, re.DOTALL))
    if not matches:
        raise NoGold(f"answer_regex {regex!r} does not match the answer: {_short(gold)}")
    last = matches[-1]
    return (last[1] if last.re.groups and last[1] is not None else last[0]).strip()


def _unboxed(gold: str) -> str:
    r"""The content of the last box, its braces in balance.

    >>> _unboxed(r"So \boxed{1} or rather \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    boxes = list(_BOX.finditer(gold))
    if not boxes:
        raise NoGold(rf"the answer has no \boxed{{}}: {_short(gold)}")
    start, depth = boxes[-1].end(), 1
    for at in range(start, len(gold)):
        depth += {"{": 1, "}": -1}.get(gold[at], 0) * (gold[at - 1] != "\\")
        if depth == 0:
            return gold[start:at].strip()
    raise NoGold(f"the answer's last box does not end: {_short(gold)}")


def _choice(gold: str, row: Mapping[str, Any], column: str) -> str:
    """The choice that a place from 0, a label beside the choices (as ARC has them), or a letter names."""
    choices, bare = texts_of(row.get(column)), gold.strip()
    value = row.get(column)
    labels = [str(label) for label in value.get("label", ())] if isinstance(value, Mapping) else []
    letter = _LETTER.fullmatch(bare)
    if bare in labels:
        place = labels.index(bare)
    elif bare.isdecimal():
        place = int(bare)
    elif letter is not None:
        place = ord(letter[1].upper()) - ord("A")
    else:
        raise NoGold(f"the answer {_short(gold)} names no place in {column!r}")
    if place >= len(choices):
        raise NoGold(f"the answer {_short(gold)} names none of the {len(choices)} in {column!r}")
    return choices[place]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
