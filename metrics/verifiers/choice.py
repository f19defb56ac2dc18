"""Multiple choice by letter: boxed, behind `Answer:`, or the last letter that stands alone; knows no option's text.

Policy on hedging: the box, the tag or (failing both) the last line with a letter must name one letter; `A or B` is no answer.
On a plain line only capitals and bracketed letters count, so that the article `a` is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers.formats import wordings
from ratoon.metrics.verifiers.formats.values import right_letter, wrong_letter
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "choice-1"


class ChoiceArgs(Config):
    """What a task's `verifier_args` may say."""

    letters: str = Field("ABCDE", pattern=r"^[A-Z]{2,26}$", description="the letters that may be chosen")
    extract: Literal["any", "boxed", "tagged", "last"] = Field(
        "any", description="where the letter stands; `any` tries box, tag and last letter in this order"
    )
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the chosen letter is the gold's; abstain when the gold is none of `letters`. Raises ConfigError."""
    config = parsed_args(ChoiceArgs, args)
    chosen = _chosen(text, config)
    letters = sorted(chosen) if chosen is not None else []
    gold = (answer or "").strip().strip("().").upper()
    if len(gold) != 1 or gold not in config.letters:
        return abstained(f"gold {answer!r:.80} is none of {config.letters}", letters[0] if len(letters) == 1 else None)
    if not text or text.isspace():
        return EMPTY
    if len(letters) != 1:
        return unparsed(f"different letters {''.join(letters)}" if letters else "no letter")
    return passed(gold) if letters[0] == gold else failed("wrong", letters[0])


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(ChoiceArgs, args)
    return places.specimen(answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for."""
    place = str(args.get("extract", "any"))
    said = wordings.at("letter" if place in ("any", "last") else place)
    return Formats(said, right_letter, wrong_letter)


def _chosen(text: str, config: ChoiceArgs) -> set[str] | None:
    """The letters named at the place that decides; None where there is no such place."""
    loose, strict = _patterns(config.letters)
    if config.extract in ("any", "boxed"):
        part = places.boxed(text)
        if part is not None or config.extract == "boxed":
            return None if part is None else _letters(loose, part)
    if config.extract in ("any", "tagged"):
        part = places.tagged(text, config.tag)
        found = None if part is None else _letters(loose, part) if len(part) <= 4 else _letters(strict, part)
        if found or config.extract == "tagged":
            return found
    return next((found for line in reversed(text.splitlines()) if (found := _letters(strict, line))), None)


def _letters(pattern: re.Pattern[str], part: str) -> set[str]:
    return {match.upper().strip("()[].: ") for match in pattern.findall(part)}


@lru_cache(maxsize=64)
def _patterns(letters: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    both = letters + letters.lower()
    loose = re.compile(rf"(?<![A-Za-z0-9\\])[{both}](?![A-Za-z0-9'’])")
    strict = re.compile(rf"(?<![A-Za-z0-9\\])[{letters}](?![A-Za-z0-9'’])|[(\[][{both}][)\]]")
    return loose, strict
