"""Numbers in running text as exact fractions; never evaluates what a model wrote.

Reads signs, decimals, `1,234` and `1 234`, `3/4`, `1 1/2`, `\\frac{3}{4}`, `1.5e3`, `2 × 10^3`, `10^3`. Numbers whose
exact form would have more than a few hundred digits are refused, so that `10^10^9` costs nothing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_MAX_DIGITS = 400
_TAIL = 500
_LAST_DIGIT = re.compile(r".*[0-9]", re.DOTALL)
_SPACES = "\u00a0\u202f\u2009"
_MINUS = str.maketrans({"−": "-", "－": "-", "﹣": "-", "–": "-", "⁄": "/", "＋": "+"})
_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]"), "\u2009"),
    (re.compile(r"\\left|\\right|\\[$()\[\]]"), " "),
    (re.compile(r"\\[dt]?frac\s*\{\s*([-+]?[\d.,]+)\s*\}\s*\{\s*([-+]?[\d.,]+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\\times|\\cdot"), "×"),
    (re.compile(r"\\%"), "%"),
)


def _pattern(separators: str) -> re.Pattern[str]:
    grouped = (
        rf"[0-9]{{1,3}}(?:(?P<sep>[{separators}])[0-9]{{3}})(?:(?P=sep)[0-9]{{3}})*(?!(?P=sep)?[0-9])" if separators else "(?!)"
    )
    return re.compile(
        # The sign binds only where nothing stands before it: in `5-3` and `x-3` the minus is an operation.
        r"(?P<sign>(?<![\w)\]}.])[-+])?(?<![A-Za-z0-9^])(?<![A-Za-z0-9]_)(?<![0-9]\.)"
        rf"(?:(?P<mixed>[0-9]+)[ \u00a0](?P<mnum>[0-9]+)/(?P<mden>[0-9]+)(?![0-9/])"
        rf"|(?P<int>{grouped}|[0-9]+)?(?P<dec>\.[0-9]+)?(?<=[0-9])"
        r"(?:/(?P<den>[-+]?[0-9]+(?:\.[0-9]+)?)(?![0-9/])|[eE](?P<exp>[-+]?[0-9]+)(?![A-Za-z0-9])"
        r"|\s?[×x*]\s?10\s?(?:\^|\*\*)\s?\{?(?P<sci>[-+]?[0-9]+)\}?|(?:\^|\*\*)[({]?(?P<pow>[-+]?[0-9]+)[)}]?(?!\^|\*\*[0-9(]|[0-9])"
        r"|(?P<tower>(?:\^|\*\*)[({]*[-+]?[0-9]\S*))?)"
        r"(?P<percent>\s?%)?"
    )


_PATTERNS = {"none": _pattern(""), "comma": _pattern(f",{_SPACES}"), "comma_and_space": _pattern(f", {_SPACES}")}


class Number(NamedTuple):
    """One number in a text; `value` is None where it is too large, or divides by zero."""

    value: Fraction | None
    percent: bool
    start: int
    end: int


def tidy(text: str) -> str:
    """`text` with Unicode minus signs and LaTeX numbers in plain form."""
    if not text.isascii():
        text = text.translate(_MINUS)
    if "\\" in text or "{," in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    return text


def find(text: str, thousands: str = "comma_and_space") -> list[Number]:
    """Every number of a tidied text, in order."""
    return [_number(match) for match in _PATTERNS[thousands].finditer(text)]


def last(text: str, thousands: str = "comma_and_space") -> Number | None:
    """The last number of a tidied text; only the last line that has a digit is read, and only the end of a very long one."""
    digit = _LAST_DIGIT.match(text)
    if digit is None:
        return None
    start = max(text.rfind("\n", 0, digit.end()) + 1, digit.end() - _TAIL)
    match = None
    for match in _PATTERNS[thousands].finditer(text, start):  # noqa: B007
        pass
    return _number(match) if match else None


def whole(text: str, thousands: str = "comma_and_space") -> Number | None:
    """The number that a text is, but for currency, dollar signs, blanks and a final period; None when it is more than that."""
    text = tidy(text).strip().strip("$€£ ").removesuffix(".").strip()
    match = _PATTERNS[thousands].fullmatch(text.removeprefix("- ") if text.startswith("- ") else text)
    if match is None:
        return None
    number = _number(match)
    return number._replace(value=-number.value) if text.startswith("- ") and number.value is not None else number


def canonical(value: Fraction) -> str:
    """The exact fraction as text: `7`, `-3/4`."""
    return str(value)


def _number(match: re.Match[str]) -> Number:
    sign, mixed, percent = match.group("sign", "mixed", "percent")
    value = _mixed(mixed, *match.group("mnum", "mden")) if mixed else _value(match)
    negative = sign == "-" or (sign is None and _spaced_minus(match.string, match.start()))
    return Number(-value if negative and value is not None else value, percent is not None, match.start(), match.end())


def _spaced_minus(text: str, start: int) -> bool:
    """Whether `- 3` stands behind `=`, `:` or an opening bracket on its line: a sign, no list bullet and no operation."""
    before = text[max(0, start - 8) : start].rstrip(" ")
    if not before.endswith("-"):
        return False
    return before[:-1].rstrip(" ")[-1:] in ("=", ":", "(", "{", "[", "≈")


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
    value = Fraction(int(digits)) if decimals is None else Fraction(digits + decimals)
    if below is not None:
        divisor = Fraction(below)
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
