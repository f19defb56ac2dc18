"""Numbers in running text as exact fractions; never evaluates what a model wrote.

Reads signs, decimals, `1,234`, `1 234`, `1'234` and `12,34,567`, `3/4`, `1 1/2`, `\\frac{3}{4}`, `1.5e3`, `2 × 10^3`, `10^3`,
`1.5 million`, `3,5` where the comma can only be a decimal one. Refuses (a number without a value) roots, multiples of π, `±5`,
ratios and times, and numbers whose exact form would have more than a few hundred digits, so that `10^10^9` costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

from ratoon.metrics.verifiers.plain_numbers import FRACTIONS, THIN, tidy

Thousands = Literal["comma_and_space", "comma", "none"]
Decimal = Literal["auto", "point", "comma"]
_MAX_DIGITS = 400
_TAIL = 500
_LINES = 8
_LAST_DIGIT = re.compile(rf".*[\d{FRACTIONS}]", re.DOTALL)
_SPACES = f"\u00a0\u202f{THIN}"
_SEPARATORS = {"none": "", "comma": f",{_SPACES}'", "comma_and_space": f", {_SPACES}'"}
_POWERS = {
    "hundred": 2, "thousand": 3, "tausend": 3, "mille": 3, "million": 6, "millionen": 6, "millones": 6, "mio": 6,
    "billion": 9, "milliarde": 9, "milliarden": 9, "milliard": 9, "mrd": 9, "trillion": 12, "lakh": 5, "crore": 7,
    "千": 3, "万": 4, "萬": 4, "百万": 6, "亿": 8, "億": 8,
}  # fmt: skip
_MAGNITUDE = (
    r"(?:[ \u00a0\u2009-]?(?P<word>(?i:"
    + "|".join(sorted((w for w in _POWERS if w.isascii()), key=len, reverse=True))
    + r"))s?\b\.?(?!\w)|(?P<sign_word>百万|[千万萬亿億]))?"
)
_PERCENT = r"(?P<percent>\s?(?:%|(?i:per ?cent|pct)\b))?"
_SPACED_SIGN = re.compile(
    r"(?:[=:({\[≈$]|\b(?:is|are|be|was|were|ist|est|es|equals?|gives?|gets?|to|of|becomes))\s*-\s*\Z", re.IGNORECASE
)
_REFUSED_BEFORE = re.compile(r"(?:√(?:\[\d+\])?[{( ]*[-+]?|±\s?|[0-9]:)\Z")
_ODD = re.compile(r"[√±π]|[0-9]:[0-9]")
_REFUSED_AFTER = re.compile(r"[ ×*]?[π√]|:[0-9]")


@lru_cache(maxsize=16)
def _pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    separators = _SEPARATORS[thousands]
    if decimal == "comma":
        separators = separators.replace(",", ".")
    grouped = (
        rf"[0-9]{{1,3}}(?:(?P<sep>[{separators}])[0-9]{{3}})(?:(?P=sep)[0-9]{{3}})*(?!(?P=sep)?[0-9])|" if separators else ""
    )
    indian = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?!,?[0-9])|" if separators and decimal != "comma" else ""
    point = "," if decimal == "comma" else r"\."
    comma = (
        r"|(?<![0-9],)(?P<eint>[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+),(?P<edec>[0-9]{1,2}|[0-9]{4,})(?![0-9]|,[0-9])"
        r"|(?P<points>[0-9]{1,3}(?:\.[0-9]{3}){2,})(?!\.?[0-9])"
        if decimal == "auto" and thousands != "none"
        else r"|(?P<point>[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,}))(?![0-9.,])"
        if decimal == "comma"
        else ""
    )
    return re.compile(
        # The sign binds only where nothing stands before it: in `5-3` and `x-3` the minus is an operation.
        r"(?P<sign>(?<![A-Za-z0-9_)\]}.^])[-+])?(?<![A-Za-z0-9^])(?<!\^[-+])(?<![A-Za-z0-9]_)(?<![0-9]\.)"
        rf"(?:(?P<mixed>[0-9]+)[ \u00a0\u2009](?P<mnum>[0-9]+)/(?P<mden>[0-9]+)(?![0-9/]){comma}"
        rf"|(?P<int>{grouped}{indian}[0-9]+)?(?P<dec>{point}[0-9]+)?(?<=[0-9])"
        r"(?: ?/ ?(?P<den>[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)(?![0-9/])"
        r"|[eE](?P<exp>[-+]?[0-9]+)(?![A-Za-z0-9])"
        r"|\s?[×x*]\s?10\s?(?:\^|\*\*)\s?\{?(?P<sci>[-+]?[0-9]+)\}?"
        r"|(?:\^|\*\*)[({]?(?P<pow>[-+]?[0-9]+)[)}]?(?!\^|\*\*[0-9(]|[0-9])"
        r"|(?P<tower>(?:\^|\*\*)[({]*[-+]?[0-9]\S*))?)" + _MAGNITUDE + _PERCENT
    )


class Number(NamedTuple):
    """One number in a text; `value` is None where it is refused: too large, divided by zero, a root, a ratio."""

    value: Fraction | None
    percent: bool
    start: int
    end: int


def find(text: str, thousands: Thousands = "comma_and_space", decimal: Decimal = "auto") -> list[Number]:
    """Every number of a tidied text, in order."""
    return [_number(match) for match in _pattern(thousands, decimal).finditer(text)]


def last(text: str, thousands: Thousands = "comma_and_space", decimal: Decimal = "auto") -> tuple[str, list[Number]]:
    """The last line that holds a number, tidied, and its numbers in order; only the end of a very long line is read.

    Nothing where the last few lines with a digit hold none.
    """
    pattern = _pattern(thousands, decimal)
    lines = _lines_with_digits(text) if "\n" in text.strip() else [joined_sign(text)[-2 * _TAIL :]]
    for line in map(tidy, lines):
        matches = list(pattern.finditer(line))
        if matches and "nswer" not in line:
            matches = matches[-2:]  # all that a rounding or a denial needs
        if matches:
            return line, [_number(match) for match in matches]
    return "", []


def _lines_with_digits(text: str) -> Iterator[str]:
    """From the end on, a few of them, each at most so long."""
    for _ in range(_LINES):
        digit = _LAST_DIGIT.match(text)
        if digit is None:
            return
        newline = text.rfind("\n", 0, digit.end()) + 1
        stop = text.find("\n", digit.end())
        yield text[max(newline, digit.end() - _TAIL) : digit.end() + _TAIL if stop < 0 else min(stop, digit.end() + _TAIL)]
        text = text[:newline]


def whole(text: str, thousands: Thousands = "comma_and_space", decimal: Decimal = "auto") -> Number | None:
    """The number that a text is, but for currency, dollar signs, blanks and a final period; None when it is more than that."""
    text = joined_sign(tidy(text).strip().strip("$€£¥₹ ").removesuffix(".").strip())
    match = _pattern(thousands, decimal).fullmatch(text)
    return None if match is None else _number(match)


def joined_sign(part: str) -> str:
    """A part of its own with the blanks behind a leading sign taken out: `- 5` is no list item there."""
    part = part.strip()
    return part[0] + part[1:].lstrip() if part[:1] in ("-", "+") else part


def canonical(value: Fraction) -> str:
    """The exact fraction as text: `7`, `-3/4`."""
    return str(value)


def _number(match: re.Match[str]) -> Number:
    text, start, end = match.string, match.start(), match.end()
    if match.lastgroup == "int" and len(digits := match["int"]) < 20 and digits.isdigit():
        value: Fraction | None = Fraction(int(digits))  # most numbers, and by far the quickest way
    else:
        value = _magnified(match, _unsigned(match))
    if value is None or (_ODD.search(text) and _refused(text, start, end)):
        return Number(None, match["percent"] is not None, start, end)
    return Number(-value if _is_negative(match) else value, match["percent"] is not None, start, end)


def _is_negative(match: re.Match[str]) -> bool:
    sign, text, start = match["sign"], match.string, match.start()
    if sign is None and "-" in text[max(0, start - 3) : start]:
        return _SPACED_SIGN.search(text, max(0, start - 24), start) is not None
    return sign == "-"


def _refused(text: str, start: int, end: int) -> bool:
    return _REFUSED_BEFORE.search(text, max(0, start - 10), start) is not None or _REFUSED_AFTER.match(text, end) is not None


def _unsigned(match: re.Match[str]) -> Fraction | None:
    groups = match.groupdict()
    if groups["mixed"]:
        return _mixed(groups["mixed"], groups["mnum"], groups["mden"])
    if groups.get("points"):
        return Fraction(int(groups["points"].replace(".", "")))
    if groups.get("point"):
        return Fraction(groups["point"]) if len(groups["point"]) <= _MAX_DIGITS else None
    return _with_comma(match) if groups.get("edec") else _value(match)


def _with_comma(match: re.Match[str]) -> Fraction | None:
    """`3,5`; the last number of the pair where brackets hold nothing else."""
    whole, decimals = match.group("eint", "edec")
    if len(whole) + len(decimals) > _MAX_DIGITS:
        return None
    text = match.string
    if text[match.start() - 1 : match.start()] in ("(", "[", "{") and text[match.end() : match.end() + 1] in (")", "]", "}"):
        return Fraction(int(decimals))
    return Fraction(f"{whole.replace('.', '')}.{decimals}")


def _magnified(match: re.Match[str], value: Fraction | None) -> Fraction | None:
    word = match["word"] or match["sign_word"]
    return value if value is None or word is None else value * 10 ** _POWERS[word.lower()]


def _mixed(whole: str, above: str, below: str) -> Fraction | None:
    if len(whole + above + below) > _MAX_DIGITS or int(below) == 0:
        return None
    return int(whole) + Fraction(int(above), int(below))


def _value(match: re.Match[str]) -> Fraction | None:
    integer, decimals, below, exponent, scientific, power, tower = match.group(
        "int", "dec", "den", "exp", "sci", "pow", "tower"
    )
    digits = "".join(filter(str.isdigit, integer)) if integer else "0"
    if tower or len(digits) + len(decimals or "") + len(below or "") > _MAX_DIGITS:
        return None
    value = Fraction(int(digits)) if decimals is None else Fraction(f"{digits}.{decimals[1:]}")
    if below is not None:
        divisor = Fraction(below.replace(",", ""))
        return value / divisor if divisor else None
    if power is not None:
        return _power(value, power)
    shift = exponent or scientific
    return value if shift is None else _shifted(value, shift)


def _shifted(value: Fraction, exponent: str) -> Fraction | None:
    if len(exponent) > 5 or abs(int(exponent)) > _MAX_DIGITS:
        return None
    return value * Fraction(10) ** int(exponent)


def _power(base: Fraction, exponent: str) -> Fraction | None:
    digits = len(str(base.numerator)) + len(str(base.denominator))
    if len(exponent) > 5 or abs(int(exponent)) * digits > _MAX_DIGITS or (base == 0 and exponent.startswith("-")):
        return None
    return base ** int(exponent)
