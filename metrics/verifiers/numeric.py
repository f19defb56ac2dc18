"""One number against another, exactly: reads the last, boxed or tagged number of a reply; knows no units and no algebra.

A box or a tag must hold one number. Where it holds an equation, what stands behind the last `=` counts; two different
numbers there are no answer. An exact value with its rounding behind it (`\\frac{1}{3} \\approx 0.333`) is one answer: either
may be the gold, the exact one is the vote. The canonical answer is the exact fraction (`7`, `-3/4`), so equal answers in
other clothes are one vote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats import families, wordings
from ratoon.metrics.verifiers.formats.values import right_number, wrong_number
from ratoon.metrics.verifiers.plain_numbers import tidy
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "numeric-2"
_MOST_CHARACTERS = 4000
_ABOUT = re.compile(
    r"[\s$)}]*,?\s*\(?(?:≈|~|(?:or|which is|i\.e\.)?,?\s*(?:about|approximately|approx\.?|around|roughly))\s*[\s$({]*[-+]?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\banswer\b[*_\"']{0,3}\s?(?:is|:|=)[\s:*_$({€£]{0,6}\Z", re.IGNORECASE)
_NEXT_SENTENCE = re.compile(r"[\s$*)}%]{0,4}[A-Za-z ]{0,20}[.!]\s")
_TAKEN_BACK = re.compile(r"\b(?:no|not|wait|actually|rather|instead|sorry|correction|but|should|=)\b", re.IGNORECASE)
_DENIED = re.compile(r"[\s$*]*[,;(]?\s*(?:and|but)?\s*(?:not|rather than|instead of|never)\s+[$*]*[-+]?", re.IGNORECASE)
_OR = re.compile(r"[\s$*]*,?\s+or\s+[$*]*[-+]?", re.IGNORECASE)
_FACTORIAL = re.compile(r"\d\s*!(?!=)")


class NumericArgs(Config):
    """What a task's `verifier_args` may say."""

    extract: Literal["last", "boxed", "tagged"] = Field("last", description="which number of the reply counts")
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")
    thousands: numbers.Thousands = Field(
        "comma_and_space", description="which separators may group thousands; `1 234` reads as two numbers without the blank"
    )
    decimal: numbers.Decimal = Field(
        "auto",
        description="`3,5` is 3.5 where its comma groups no thousands (`auto`), always (`comma`: 1.234,5) or never (`point`)",
    )
    percent: Literal["ignore", "fraction"] = Field("ignore", description="60% reads as 60 (`ignore`) or as 3/5 (`fraction`)")
    tolerance: float = Field(0.0, ge=0, description="largest absolute difference that still passes")


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the reply's number equals the gold; abstain when the gold is no number. Raises ConfigError on bad args."""
    config = parsed_args(NumericArgs, args)
    gold = _gold(answer, config) if answer is not None else None
    values = _read(text, config)
    if gold is None:
        said = None if isinstance(values, Verdict) else numbers.canonical(values[0])
        return abstained(f"gold {answer!r:.80} is no number", said)
    if isinstance(values, Verdict):
        return values
    shown = numbers.canonical(values[0])
    if gold in values:
        return passed(shown)
    near = config.tolerance > 0 and min(abs(value - gold) for value in values) <= Fraction(str(config.tolerance))
    return passed(shown) if near else failed("wrong", shown)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(NumericArgs, args)
    return places.specimen(answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for, and what they do not."""
    return Formats(
        wordings.at(str(args.get("extract", "last"))), right_number, wrong_number, families.PLACES, families.of_number
    )


@lru_cache(maxsize=65536)
def _gold(answer: str, config: NumericArgs) -> Fraction | None:
    number = numbers.whole(answer, config.thousands, config.decimal)
    return None if number is None else _scaled(number, config)


def _scaled(number: numbers.Number, config: NumericArgs) -> Fraction | None:
    if number.percent and number.value is not None and config.percent == "fraction":
        return number.value / 100
    return number.value


def _read(text: str, config: NumericArgs) -> Sequence[Fraction] | Verdict:
    """The reply's number, with its rounding behind it where there is one, or the verdict on a reply that has none."""
    if not text or text.isspace():
        return EMPTY
    if config.extract == "last":
        line, found = numbers.last(text, config.thousands, config.decimal)
        return _at_end(line, found, config) if len(found) > 1 else _one(found, config)
    part = places.place(text, config.extract, config.tag)
    if part is None:
        return unparsed("no closed \\boxed{}" if config.extract == "boxed" else f"no {config.tag!r} tag")
    if len(part) > _MOST_CHARACTERS:
        return unparsed(f"{len(part)} characters are no number")
    if config.extract == "boxed" and _FACTORIAL.search(part):
        return unparsed("a factorial")
    return _in_part(numbers.joined_sign(tidy(part)), config)


def _at_end(line: str, found: Sequence[numbers.Number], config: NumericArgs) -> Sequence[Fraction] | Verdict:
    """What a line with several numbers says at its end: the last, but for one that is denied, or that follows the announced
    answer in a sentence of its own; two with `or` between them are no answer."""
    rounding = _with_rounding(line, found, config)
    if rounding:
        return rounding
    announced = [number for number in found if _LABEL.search(line, max(0, number.start - 40), number.start)]
    if announced and _NEXT_SENTENCE.match(line, announced[-1].end) and not _TAKEN_BACK.search(line, announced[-1].end):
        return _one(announced[-1:], config)
    between = line[found[-2].end : found[-1].start]
    if _DENIED.fullmatch(between):
        return _one(found[-2:-1], config)
    return _one(found[-2:] if _OR.fullmatch(between) else found[-1:], config)


def _in_part(part: str, config: NumericArgs) -> Sequence[Fraction] | Verdict:
    found = numbers.find(part, config.thousands, config.decimal)
    if len(found) > 1:
        rounding = _with_rounding(part, found[-2:], config)
        if rounding and (len(found) == 2 or "=" in part[found[-3].end : found[-2].start]):
            return rounding
        part = part.replace("≈", "=").rpartition("=")[2]
        found = numbers.find(numbers.joined_sign(part), config.thousands, config.decimal)
    return _one(found, config)


def _with_rounding(line: str, found: Sequence[numbers.Number], config: NumericArgs) -> Sequence[Fraction] | None:
    """An exact value and the rounded one said to be about it; None where the two are no such pair."""
    if len(found) < 2 or _ABOUT.fullmatch(line, found[-2].end, found[-1].start) is None:
        return None
    exact, rounded = (_scaled(number, config) for number in found[-2:])
    if exact is None or rounded is None:
        return None
    _, point, decimals = line[found[-1].start : found[-1].end].rstrip("% ").partition(".")
    return (exact, rounded) if abs(exact - rounded) <= Fraction(1, 10 ** len(decimals if point else "")) else None


def _one(found: Sequence[numbers.Number], config: NumericArgs) -> Sequence[Fraction] | Verdict:
    if not found:
        return unparsed("no number")
    value = _scaled(found[0], config)
    if any(_scaled(number, config) != value for number in found[1:]):
        return unparsed("different numbers")
    return unparsed("no plain number, too large, or divided by zero") if value is None else (value,)
