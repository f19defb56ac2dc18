"""One number against another, exactly: reads the last, boxed or tagged number of a reply; knows no units and no algebra.

A box or a tag must hold one number. Where it holds an equation, what stands behind the last `=` counts; two different
numbers there are no answer. The canonical answer is the exact fraction (`7`, `-3/4`), so equal answers in other clothes are
one vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats import wordings
from ratoon.metrics.verifiers.formats.values import right_number, wrong_number
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "numeric-1"


class NumericArgs(Config):
    """What a task's `verifier_args` may say."""

    extract: Literal["last", "boxed", "tagged"] = Field("last", description="which number of the reply counts")
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")
    thousands: Literal["comma_and_space", "comma", "none"] = Field(
        "comma_and_space", description="which separators may group thousands; `1 234` reads as two numbers without the blank"
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
    found = _read(text, config)
    if gold is None:
        said = found if isinstance(found, Fraction) else None
        return abstained(f"gold {answer!r:.80} is no number", None if said is None else numbers.canonical(said))
    if isinstance(found, Verdict):
        return found
    right = found == gold or abs(found - gold) <= Fraction(str(config.tolerance))
    shown = numbers.canonical(found)
    return passed(shown) if right else failed("wrong", shown)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(NumericArgs, args)
    return places.specimen(answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for."""
    return Formats(wordings.at(str(args.get("extract", "last"))), right_number, wrong_number)


@lru_cache(maxsize=65536)
def _gold(answer: str, config: NumericArgs) -> Fraction | None:
    number = numbers.whole(answer, config.thousands)
    return None if number is None else _scaled(number, config)


def _scaled(number: numbers.Number, config: NumericArgs) -> Fraction | None:
    if number.percent and number.value is not None and config.percent == "fraction":
        return number.value / 100
    return number.value


def _read(text: str, config: NumericArgs) -> Fraction | Verdict:
    """The reply's number, or the verdict on a reply that has none."""
    if not text or text.isspace():
        return EMPTY
    if config.extract == "last":
        number = numbers.last(numbers.tidy(text), config.thousands)
        return _one([] if number is None else [number], config)
    part = places.place(text, config.extract, config.tag)
    if part is None:
        return unparsed("no closed \\boxed{}" if config.extract == "boxed" else f"no {config.tag!r} tag")
    found = numbers.find(numbers.tidy(part), config.thousands)
    if len(found) > 1:
        found = numbers.find(numbers.tidy(part).replace("≈", "=").rpartition("=")[2], config.thousands)
    return _one(found, config)


def _one(found: list[numbers.Number], config: NumericArgs) -> Fraction | Verdict:
    values = {_scaled(number, config) for number in found}
    if not values:
        return unparsed("no number")
    if len(values) > 1:
        return unparsed("different numbers")
    value = values.pop()
    return unparsed("number too large, or divided by zero") if value is None else value
