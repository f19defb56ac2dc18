"""What makes two solutions the same reasoning: a key read from the text by a whitelist parser; nothing is ever evaluated.

RFT (Yuan et al., 2308.01825) keys a path by its list of calculator annotations, so that all paths without one collide.
Here the key is, by the first that is found: the multiset of equations (`<<3+4=7>>` annotations if there are any, plain
`3 + 4 = 7` otherwise; operands of + and × sorted), the numbers in order, the normalised text.
"""

from __future__ import annotations

import re

from ratoon.text import normalise

_NUMBER = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
# A chain is eaten whole whether or not "= number" follows, and starts only where a run of "(" and "-" starts: linear time.
_CHAIN = re.compile(rf"(?<![-(\d.])([-(]*{_NUMBER}(?:[\s)]*[-+*/^x][\s(-]*{_NUMBER})+[\s)]*)(?==\s*(-?{_NUMBER})|)")
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_TOKEN = re.compile(rf"{_NUMBER}|[-+*/^()]")
_TRACE = re.compile(rf"(?:(?<![\w)])-)?{_NUMBER}")
_SIGNS = str.maketrans({"×": "*", "⋅": "*", "·": "*", "∙": "*", "÷": "/", "−": "-", "–": "-", "X": "x", "$": None})
_LATEX = re.compile(r"\\(times|cdot|div)\b")
_DEEPEST = 40


def reasoning_key(text: str) -> str:
    """`eq:…`, `num:…` or `text:…`.

    >>> reasoning_key("4 + 3 = 7, so 7.0 * 2 = 14") == reasoning_key("2*7=14 because 3+4=7")
    True
    >>> reasoning_key("The answer is 1,007."), reasoning_key("Blue  whale")
    ('num:1007', 'text:blue whale')
    """
    plain = _LATEX.sub(lambda m: "/" if m[1] == "div" else "*", text).translate(_SIGNS)
    sides = equations(plain) if "=" in plain else []
    if sides:
        return "eq:" + ";".join(sorted(sides))
    trace = [canonical_number(number) for number in _TRACE.findall(plain)]
    return "num:" + ",".join(trace) if trace else "text:" + normalise(text)


def equations(text: str) -> list[str]:
    """The equations of `text` in order, each as `canonical expression=number`."""
    noted = [pair for note in _ANNOTATION.findall(text) for pair in _pairs(note)] if "<<" in text else []
    return [f"{canonical(left)}={canonical_number(right)}" for left, right in noted or _pairs(text)]


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(m[1], m[2]) for m in _CHAIN.finditer(text) if m[2] is not None]


def canonical_number(number: str) -> str:
    """The number without thousands separators, leading zeros and trailing decimal zeros; a negative zero is 0."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    whole, _, fraction = digits.replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return (sign if whole != "0" or fraction else "") + whole + ("." + fraction if fraction else "")


def canonical(expression: str) -> str:
    """An expression with sorted operands; what does not parse is returned with its blanks taken out."""
    tokens = _TOKEN.findall(expression.replace("x", "*"))
    try:
        tree, rest = _sum(tokens, 0, 0)
    except ValueError:
        return "".join(tokens)
    return tree if rest == len(tokens) else "".join(tokens)


def _sum(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    first, at = _product(tokens, at, depth)
    terms = ["+" + first]
    while at < len(tokens) and tokens[at] in "+-":
        sign = tokens[at]
        term, at = _product(tokens, at + 1, depth)
        terms.append(sign + term)
    return "".join(sorted(terms)).removeprefix("+"), at


def _product(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    first, at = _power(tokens, at, depth)
    factors = ["*" + first]
    while at < len(tokens) and tokens[at] in "*/":
        sign = tokens[at]
        factor, at = _power(tokens, at + 1, depth)
        factors.append(sign + factor)
    return "".join(sorted(factors)).removeprefix("*"), at


def _power(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    base, at = _atom(tokens, at, depth)
    if at < len(tokens) and tokens[at] == "^":
        exponent, at = _power(tokens, at + 1, depth + 1)
        return f"{base}^{exponent}", at
    return base, at


def _atom(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    if at >= len(tokens) or depth > _DEEPEST:
        raise ValueError("cut off, or nested too deep")
    token = tokens[at]
    if token == "-":
        inner, at = _atom(tokens, at + 1, depth + 1)
        return f"(-{inner})", at
    if token == "(":
        inner, at = _sum(tokens, at + 1, depth + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise ValueError("unbalanced")
        return (f"({inner})" if any(sign in inner for sign in "+-*/^") else inner), at + 1
    if token in "+*/^)":
        raise ValueError("an operator where a number belongs")
    return canonical_number(token), at + 1
