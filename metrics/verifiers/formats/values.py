"""Answers that are right in other clothes, and answers that are surely wrong; knows numbers and letters, no reply.

Programs and queries have files of their own (`programs.py`, `queries.py`).

A wrong value differs from the gold by more than any verifier here may forgive. Where that cannot be shown (an expression, a
puzzle with many solutions), other tasks' answers are taken: rarely right, and then a count, not a proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ratoon.metrics.verifiers import numbers

Values = dict[str, str]
_OPERATORS = set("\\{}[](),∞=<>|")


def plain(answer: str, args: Mapping[str, Any]) -> Values:
    """The gold as it stands."""
    return {"plain": answer}


def right_number(answer: str, args: Mapping[str, Any]) -> Values:
    """A number as it may be written; only `plain` where it is none."""
    return plain(answer, args) | _as_number(answer, grouped=args.get("thousands") != "none")


def right_expression(answer: str, args: Mapping[str, Any]) -> Values:
    """A number or a mathematical expression as it may be written."""
    bare = _bare(answer)
    dfrac = {"dfrac": bare.replace("\\frac", "\\dfrac")} if "\\frac" in answer else {}
    return {"plain": bare} | (_as_number(bare, grouped=False) or dfrac)


def right_letter(answer: str, args: Mapping[str, Any]) -> Values:
    """The letter alone."""
    return {"plain": _letter(answer)}


def right_text(answer: str, args: Mapping[str, Any]) -> Values:
    """A text in the clothes that the arguments of `exact` allow."""
    found = plain(answer, args)
    if args.get("ignore_case"):
        found["other case"] = answer.swapcase()
    if args.get("collapse_spaces", True) and " " in answer.strip():
        found["wide blanks"] = answer.replace(" ", "  ")
    if strip := str(args.get("strip", "")).strip():
        found["wrapped"] = f"{strip[0]}{answer}{strip[0]}"
    return found


def other_answers(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Other tasks' answers, where they differ from this one's in more than order and case."""
    return _apart({f"other task's {i}": x for i, x in enumerate(others)}, answer)


def wrong_number(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Numbers further off than the tolerance; other tasks' answers where the gold is none."""
    number = numbers.whole(_bare(answer))
    if number is None or number.value is None:
        return other_answers(answer, args, others)
    return _wrong_numbers(number.value, float(args.get("tolerance", 0.0)), "%" if number.percent else "")


def wrong_expression(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """As of a number; an expression without operators has one more added to it."""
    found, bare = wrong_number(answer, args, others), _bare(answer)
    number = numbers.whole(bare)
    if (number is not None and number.value is not None) or _OPERATORS & set(bare):
        return found
    return found | _apart({"plus one": f"{bare} + 1"}, answer)


def wrong_letter(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Every other letter that may be chosen."""
    return {f"letter {x}": x for x in str(args.get("letters", "ABCDE")) if x != _letter(answer)}


def wrong_text(answer: str, args: Mapping[str, Any], others: Sequence[str]) -> Values:
    """Other tasks' answers, and this one cut, doubled or longer."""
    changed = {"cut": answer[:-1], "doubled": f"{answer} {answer}", "longer": f"{answer} x"}
    return other_answers(answer, args, others) | _apart(changed, answer)


def _apart(found: Values, answer: str) -> Values:
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


def _as_number(text: str, *, grouped: bool) -> Values:
    """A number in other clothes by name of the format; none for a percentage, or for what is no number."""
    number = numbers.whole(text)
    if number is None or number.value is None or number.percent:
        return {}
    value, found = number.value, {}
    if value.denominator == 1:
        found["decimal"] = f"{value.numerator}.0"
        if grouped and abs(value) >= 1000:
            found["thousands"] = f"{value.numerator:,}"
    else:
        found["fraction"] = f"{value.numerator}/{value.denominator}"
        if value > 0:
            found["frac"] = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
        if 10**12 % value.denominator == 0:
            found["decimal"] = shown_decimal(value)
    if value < 0 and value.denominator == 1:
        found["unicode minus"] = f"−{abs(value.numerator)}"
    return found


def shown_decimal(value: Fraction) -> str:
    """A terminating decimal of at most 12 places, exactly; `7.0` of a whole number."""
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
    shown = {name: numbers.canonical(x) if 10**12 % x.denominator else plainest(x) for name, x in kept.items()}
    return {name: text + unit for name, text in shown.items()}


def plainest(value: Fraction) -> str:
    """A whole number, or a terminating decimal of at most 12 places."""
    return str(value.numerator) if value.denominator == 1 else shown_decimal(value)
