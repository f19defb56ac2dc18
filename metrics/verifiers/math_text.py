"""Answers in LaTeX and plain text made ready for a parser: cut out, cleaned, and told to be too large; parses nothing."""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import accumulate

from ratoon.metrics.verifiers import extract as places

_AHEAD = 400
_UNICODE = str.maketrans({
    "−": "-", "–": "-", "—": "-", "－": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "≤": r"\le ",
    "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "π": r"\pi ",
    "√": r"\sqrt", "±": r"\pm ", "°": r"^\circ", "≈": r"\approx ", "⁄": "/", "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": None,
})  # fmt: skip
_FULL_WIDTH = str.maketrans({chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)})
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_RAISED_RUN = re.compile(f"[{_RAISED}]+")
_LOWERED = dict(zip(_RAISED, "0123456789+-", strict=True))
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_CLEANINGS = (
    (re.compile(r"\\!\s*|\\displaystyle(?![a-zA-Z])"), ""),
    (re.compile(r"\\?[$€£¥₹]"), ""),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|\{\\?,\}|~|(?<=\d),\\[,;: ])(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\sqrt\s*(\d+|[a-zA-Z])(?![\d}])"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\d./^_{])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\^\s*([-+]?\d{2,})"), r"^{\1}"),
)
_MAGNITUDE = re.compile(
    r"(?<=\d)(?:\s|~|\\[,;: ])*(?:\\(?:text|mathrm|mbox)\s*\{\s*)?(thousand|million|billion|trillion)s?\b[^{}\\]*\}?",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\A(?P<number>[-+]?[\d.,]*\d|[-+]?\\[dt]?frac\{\d+\}\{\d+\})(?:\s|~|\\[,;: ])*(?:(?:square|cubic|sq\.?|cu\.?)\s+)?"
    r"(?:dollars?|cents?|euros?|pounds?|percent|degrees?|[cmk]m|kg|mg|lbs?|"
    r"inch(?:es)?|feet|foot|ft|yards?|miles?|met(?:er|re)s?|centimet(?:er|re)s?|kilomet(?:er|re)s?|hours?|minutes?|seconds?|days?|"
    r"weeks?|months?|years?|units?)(?:\^\{?[23]\}?)?\s*\Z"
)
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
_TRAILING = re.compile(r"(?:\s|\\[,;:! ]|\\\\|\\(?=\Z)|\\q?quad|[.,;:]|~)+\Z")
_POWER = re.compile(
    r"(?P<base>[\d.]*)\s*[)}\]]*\s*(?:\^|\*\*)\s*[{(]*\s*[-+]?\s*(?P<exponent>\d+)\s*(?P<more>(?:\^|\*\*)\s*[{(]*\s*(?P<top>\d+)|!)?"
)
_FACTORIAL = re.compile(r"(\d{5,})\s*!|!\s*!")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*(\d{6,})")
_MOST_DIGITS = 20_000
_MOST_NESTED = 60  # the parser takes some 50 ms a level
_MOST_POWER = 10_000

_NUMERALS = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen",
)  # fmt: skip
_BASED = re.compile(
    r"(?:[A-Za-z]\w*\s*=\s*)?\(?\s*(?P<digits>[0-9A-Za-z]+)\s*\)?\s*_\s*\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(?:base\s*)?"
    rf"(?P<base>\d{{1,2}}|{'|'.join(_NUMERALS)})\s*\}}{{0,2}}"
)

_LABEL = re.compile(
    r"(?:####|\b(?:final\s+|correct\s+)?(?:answer|result|solution)\b[\"'*_`]{0,4}(?:\s+(?:to|for|of)\b[^.:$\n]{0,60}?)?\s{0,4}"
    r"(?:(?:is|are|was|equals|would be|must be)\b\s*:?|[:：=]))[\s*_]*",
    re.IGNORECASE,
)
_FINAL_LABEL = re.compile(rf"(?=\bfinal\s+answer\b)(?:{_LABEL.pattern})", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?](?=\s|$)|\n")
_SAYS = re.compile(r"(?<=\s)(?:is|are|equals|be)\b\s*:?\s*")
_ENVIRONMENT = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:\\\$|[^$\n])+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_JOINS = re.compile(r"\s*(?:,|;|and|or|,\s*and|,\s*or)\s*")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE_END = re.compile(
    r"[.!?;](?=\s|$|[\"'*)])|,?\s+(?:because|since|as|so|which|where|but|I|when|for|after|in|per|with|and\s+I)\b|,\s+(?=[a-z]{3})|\s\(|\n"
)
_WORD = re.compile(
    r"(?<!\\)(?<![A-Za-z])(?!(?:and|or|sqrt|sin|cos|tan|log|ln|exp|pi|frac|infty|le|ge|cdot|times)\b)[A-Za-z]{2,}"
)
_LEADING = re.compile(r"[-+]?[$€£]?\(?[-+\d.][\d\s.,+\-*/^()=%!]*")


def cleaned(part: str) -> str:
    """One answer as the parser takes it: ASCII operators, thousands joined, mixed numbers as such, no currency, no full stop.

    >>> cleaned(r"\\$32,\\!348."), cleaned("11 5/6"), cleaned("x²")
    ('32,348', '11\\\\frac{5}{6}', 'x^{2}')
    """
    if not part.isascii():
        part = part.translate(_FULL_WIDTH).translate(_UNICODE)
        part = _FOREIGN_DIGIT.sub(lambda m: str(unicodedata.digit(m[0])), part)
        part = _RAISED_RUN.sub(lambda m: "^{" + "".join(_LOWERED[c] for c in m[0]) + "}", part)
    for pattern, plain in _CLEANINGS:
        part = pattern.sub(plain, part)
    part = _MAGNITUDE.sub(lambda m: rf" \times 10^{{{_POWERS[m[1].lower()]}}}", part)
    return _TRAILING.sub("", part.strip())


def without_unit(part: str) -> str:
    """A cleaned answer that is a number and a unit in words, as the number.

    >>> without_unit("23 dollars"), without_unit("5 cm^2"), without_unit("2x")
    ('23', '5', '2x')
    """
    return _UNIT.sub(r"\g<number>", part)


def too_large(part: str) -> bool:
    """Whether the exact value may have too many digits to work with (high powers, towers, factorials, binomials), or brackets
    nest deeper than a parser gets through in time."""
    if _FACTORIAL.search(part) or _BINOMIAL.search(part) or _depth(part) > _MOST_NESTED:
        return True
    return any(map(_large_power, _POWER.finditer(part)))


def _depth(part: str) -> int:
    """How many brackets are open at once.

    >>> _depth(r"\\frac{(1 + 2)}{3}")
    2
    """
    return max(accumulate((c in "([{") - (c in ")]}") for c in part), default=0)


def _large_power(match: re.Match[str]) -> bool:
    exponent = match["exponent"]
    if len(exponent) > 5 or (match["more"] and match["top"] is None):
        return True
    power = int(exponent)
    if match["top"] is not None:
        if len(match["top"]) > 2 or power ** int(match["top"]) > _MOST_POWER:
            return True
        power = power ** int(match["top"])
    base = match["base"].strip(".")
    return power > _MOST_POWER if not base else power * max(1.0, math.log10(float(base[:300]) + 1)) > _MOST_DIGITS


def in_base(part: str) -> tuple[str, int] | None:
    """Digits and base of a number written with its base (`2516_8`, `1010_{\\text{two}}`); None where it has none.

    >>> in_base("2516_8"), in_base("x_2"), in_base("22")
    (('2516', 8), None, None)
    """
    match = _BASED.fullmatch(part.strip().strip("$").strip())
    if match is None:
        return None
    name = match["base"]
    base = int(name) if name.isdigit() else _NUMERALS.index(name) + 2
    digits = match["digits"].upper().lstrip("0") or "0"
    if not match["digits"][0].isdigit() or not 2 <= base <= 36:
        return None
    return (digits, base) if all(int(digit, 36) < base for digit in digits) else None


def announced(text: str) -> str | None:
    """The answer that a text announces: inside `<answer>`, behind `Answer:`, `the answer is` or `####`, or in bold as an
    expression on the last line; the last of its kind. None where nothing is announced."""
    inside = places.element(text, "answer")
    if inside is not None:
        return _first_expression(inside)
    return _behind(_LABEL, text) or _bold(text)


def finally_announced(text: str) -> str | None:
    """What `Final answer:` announces behind the last box; None where a box comes after it."""
    tail = text[text.rfind("box") :]
    return _behind(_FINAL_LABEL, tail) if "box" in text else None


def _behind(label: re.Pattern[str], text: str) -> str | None:
    part = None
    for match in label.finditer(text):
        part = _first_expression(text[match.end() : match.end() + _AHEAD]) or part
    return part


def _bold(text: str) -> str | None:
    """The last bold expression of the last line that is not empty."""
    lines = text.strip().splitlines()
    parts = [part for part in _BOLD.findall(lines[-1][-_AHEAD:]) if not _WORD.search(part)] if lines else []
    return _first_expression(parts[-1]) if parts and any(c.isdigit() or c == "\\" for c in parts[-1]) else None


def _first_expression(part: str) -> str | None:
    """The expression with which a part begins, or which its first sentence says something "is"."""
    part = part.strip().lstrip("*_ ")
    sentence = _SENTENCE.split(part, maxsplit=1)[0]
    says = list(_SAYS.finditer(sentence))
    if says and re.match(r"[A-Za-z]{2,}\b", part):
        part = part[says[-1].end() :].lstrip("*_ ")
    match = _ENVIRONMENT.search(part)
    if match is not None and not re.search(r"\d|[A-Za-z]{2,}.*[.:]", part[: match.start()], re.DOTALL):
        return _joined(part, match)
    end = _SENTENCE_END.search(part)
    plain = (part[: end.start()] if end else part).strip(" *_`")
    if not _WORD.search(plain):
        return plain or None
    leading = _LEADING.match(plain)
    return leading.group().strip(" ,=(") if leading else None


def _joined(part: str, match: re.Match[str]) -> str:
    """The contents of an environment and of those joined to it by a comma, `and` or `or`."""
    found = [next(filter(None, match.groups()))]
    while (join := _JOINS.match(part, match.end())) is not None and (next_ := _ENVIRONMENT.match(part, join.end())) is not None:
        match = next_
        found.append(next(filter(None, match.groups())))
    return ", ".join(found)


def in_pieces(part: str) -> list[str]:
    """A list's elements: cut at commas and semicolons outside all brackets."""
    pieces, depth, start = [], 0, 0
    for i, c in enumerate(part):
        depth += (c in "([{") - (c in ")]}")
        if c in ",;" and not depth:
            pieces.append(part[start:i])
            start = i + 1
    return [piece.strip() for piece in (*pieces, part[start:]) if piece.strip()]
