"""Answers that are right in other clothes, and answers that are surely wrong; knows numbers and letters, no reply.

Programs and queries have files of their own (`planted_programs.py`, `planted_queries.py`).

A wrong value differs from the gold by more than any verifier here may forgive. Where that cannot be shown (an expression, a
puzzle with many solutions), other tasks' answers are taken: rarely right, and then a count, not a proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ratoon.metrics.verifier_errors import planted_programs, planted_queries
from ratoon.metrics.verifiers import numbers

Values = dict[str, str]
_OPERATORS = set("\\{}[](),∞=<>|")


def right(kind: str, answer: str, args: Mapping[str, Any]) -> Values:
    """The gold as it may be written, by name of the format; `plain` is always there."""
    if kind == "code":
        return planted_programs.right(answer, args)
    if kind == "sql":
        return planted_queries.right(answer, args)
    found = {"plain": {"math": _bare, "choice": _letter}.get(kind, str)(answer)}
    if kind == "exact":
        return found | _as_exact(answer, args)
    number = numbers.whole(found["plain"]) if kind in ("numeric", "math") else None
    if number is not None and number.value is not None and not number.percent:
        found |= _as_number(number.value, grouped=kind == "numeric" and args.get("thousands") != "none")
    elif kind == "math" and "\\frac" in answer:
        found["dfrac"] = found["plain"].replace("\\frac", "\\dfrac")
    return found


def wrong(kind: str, answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Wrong answers by name of the mutation; `others` are answers of other tasks. Empty where none is surely wrong."""
    if kind == "sql":
        return planted_queries.wrong(answer)
    if kind == "code" and (programs := planted_programs.wrong(answer, args)):
        return programs
    bare = _bare(answer)
    if kind == "choice":
        return {f"letter {x}": x for x in str(args.get("letters", "ABCDE")) if x != _letter(answer)}
    number = numbers.whole(bare)
    if number is not None and number.value is not None and kind in ("numeric", "math", "reasoning_gym"):
        return _wrong_numbers(number.value, float(args.get("tolerance", 0.0)), "%" if number.percent else "")
    found = {f"other task's {i}": x for i, x in enumerate(others) if _key(x) != _key(answer)}
    if kind == "exact":
        found |= {"cut": answer[:-1], "doubled": f"{answer} {answer}", "longer": f"{answer} x"}
    elif kind == "math" and not _OPERATORS & set(bare):
        found |= {"plus one": f"{bare} + 1"}
    return {name: text for name, text in found.items() if text.strip() and _key(text) != _key(answer)}


def _bare(answer: str) -> str:
    """Without dollar signs and a box around all of it."""
    text = answer.strip().strip("$").strip()
    return text[len("\\boxed{") : -1] if text.startswith("\\boxed{") and text.endswith("}") else text


def _letter(answer: str) -> str:
    return answer.strip().strip("().").upper()


def _key(text: str) -> str:
    """What two spellings of one expression share: the same signs in any order."""
    return "".join(sorted("".join(text.split()).casefold()))


def _as_exact(answer: str, args: Mapping[str, Any]) -> Values:
    found = {}
    if args.get("ignore_case"):
        found["other case"] = answer.swapcase()
    if args.get("collapse_spaces", True) and " " in answer.strip():
        found["wide blanks"] = answer.replace(" ", "  ")
    if strip := str(args.get("strip", "")).strip():
        found["wrapped"] = f"{strip[0]}{answer}{strip[0]}"
    return found


def _as_number(value: Fraction, *, grouped: bool) -> Values:
    found = {}
    if value.denominator == 1:
        found["decimal"] = f"{value.numerator}.0"
        if grouped and abs(value) >= 1000:
            found["thousands"] = f"{value.numerator:,}"
    else:
        found["fraction"] = f"{value.numerator}/{value.denominator}"
        if value > 0:
            found["frac"] = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
        if 10**12 % value.denominator == 0:
            found["decimal"] = _decimal(value)
    if value < 0 and value.denominator == 1:
        found["unicode minus"] = f"−{abs(value.numerator)}"
    return found


def _decimal(value: Fraction) -> str:
    """A terminating decimal, exactly."""
    digits = f"{abs(value.numerator) * (10**12 // value.denominator):013d}"
    return f"{'-' if value < 0 else ''}{digits[:-12]}.{digits[-12:].rstrip('0') or '0'}"


def _wrong_numbers(value: Fraction, tolerance: float, unit: str) -> Values:
    far = 2 * Fraction(str(tolerance)) + 1
    digits = str(value.numerator)
    found = {
        "one more": value + 1, "one less": value - 1, "ten more": value + 10, "sign": -value, "place": value * 10,
        "half more": value + Fraction(1, 2), "far": value + far,
    }  # fmt: skip
    if value.denominator == 1 and len(digits.lstrip("-")) > 1:
        found["cut"] = Fraction(int(digits[:-1]))
        found["swapped"] = Fraction(int(digits[:-2] + digits[-1] + digits[-2]))
    # Relative forgiveness of a library's float comparison is far below a millionth.
    least = max(Fraction(str(tolerance)), abs(value) / 10**6)
    kept = {name: other for name, other in found.items() if abs(other - value) > least}
    shown = {name: numbers.canonical(x) if 10**12 % x.denominator else _plain(x) for name, x in kept.items()}
    return {name: text + unit for name, text in shown.items()}


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else _decimal(value)
