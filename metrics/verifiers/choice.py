"""Multiple choice by letter: boxed, tagged, announced, or the letter that stands alone; told the options, by their text too.

Policy on hedging: the box, the tag, the announcement or (failing all) the last line with a letter must name one letter;
`A or B` is no answer. The article "A" and the pronoun "I" are no letters, and a letter that is denied is not chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers.formats import families, wordings
from ratoon.metrics.verifiers.formats.values import right_letter, wrong_letter
from ratoon.metrics.verifiers.option_letters import announced, on_last_line, on_own_line, plain, stated
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "choice-2"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOST_CHARACTERS = 20_000
_MARKED_GOLD = re.compile(r"\(?([A-Za-z])(?:[).:]\s.*|[).:]*)", re.DOTALL)


class ChoiceArgs(Config):
    """What a task's `verifier_args` may say."""

    letters: str = Field("ABCDE", pattern=r"^[A-Z]{2,26}$", description="the letters that may be chosen")
    options: tuple[str, ...] = Field(
        (),
        max_length=26,
        description="the options' texts in order, lettered from A on: the gold may then be a letter, a text or a place, and a "
        "reply may name the text",
    )
    first: Literal[0, 1] = Field(0, description="the place of the first option where the gold is a number")
    extract: Literal["any", "boxed", "tagged", "last"] = Field(
        "any", description="where the letter stands; `any` tries box, tag and words in this order, `last` only words"
    )
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the chosen letter is the gold's; abstain when the gold is none of `letters`. Raises ConfigError."""
    config = parsed_args(ChoiceArgs, args)
    letters = sorted(_chosen(text, config)) if text else []
    gold = _gold(answer or "", config)
    if gold is None:
        known = " or ".join(filter(None, (_letters(config), "the options" if config.options else "")))
        return abstained(f"gold {answer!r:.80} is none of {known}", letters[0] if len(letters) == 1 else None)
    if not text or text.isspace():
        return EMPTY
    if len(letters) != 1:
        return unparsed(f"different letters {''.join(letters)}" if letters else "no letter")
    return passed(gold) if letters[0] == gold else failed("wrong", letters[0])


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(ChoiceArgs, args)
    return places.specimen(_gold(answer, config) or answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for, and what they do not."""
    place = str(args.get("extract", "any"))
    said = wordings.at("letter" if place in ("any", "last") else place)
    return Formats(said, right_letter, wrong_letter, families.PLACES, families.of_letter)


def _letters(config: ChoiceArgs) -> str:
    return _ALPHABET[: len(config.options)] if config.options else config.letters


@lru_cache(maxsize=65536)
def _gold(answer: str, config: ChoiceArgs) -> str | None:
    """The gold's letter: given as such, with its text behind it, or (of `options`) as a place or a text."""
    bare, letters = answer.strip(), _letters(config)
    if config.options:
        if bare.isdecimal():
            place = int(bare) - config.first
            return letters[place] if 0 <= place < len(letters) else None
        by_text = _by_text(bare, config)
        if by_text is not None:
            return by_text
    match = _MARKED_GOLD.fullmatch(bare)
    return match[1].upper() if match is not None and match[1].upper() in letters else None


def _chosen(text: str, config: ChoiceArgs) -> set[str]:
    """The letters named at the place that decides; empty where there is no such place."""
    if config.extract in ("any", "boxed"):
        part = places.boxed(text)
        if part is not None or config.extract == "boxed":
            return set() if part is None else _in_part(part, config)
    if config.extract == "tagged":
        part = places.tagged(text, config.tag)
        return set() if part is None else _in_part(part, config)
    if config.extract == "any":
        part = places.element(text, config.tag)
        if part is not None and (letters := _in_part(part, config)):
            return letters
    return _in_words(plain(text[-_MOST_CHARACTERS:]), config)


def _in_part(part: str, config: ChoiceArgs) -> set[str]:
    letters, part = _letters(config), plain(part[:_MOST_CHARACTERS])
    by_text = _by_text(part, config)
    return stated(part, letters) or ({by_text} if by_text else on_last_line(part, letters))


def _in_words(text: str, config: ChoiceArgs) -> set[str]:
    letters = _letters(config)
    return (
        announced(text, letters)
        or on_own_line(text, letters)
        or announced(text, letters, weakly=True)
        or on_last_line(text, letters)
        or _named(text, config)
    )


def _by_text(text: str, config: ChoiceArgs) -> str | None:
    """The letter of the one option whose text this is."""
    texts = [_normal(option) for option in config.options]
    return _ALPHABET[texts.index(key)] if (key := _normal(text)) and texts.count(key) == 1 else None


def _named(text: str, config: ChoiceArgs) -> set[str]:
    """The options whose texts the last line holds as whole words, but for texts inside longer ones that it holds too."""
    line = next((f" {line} " for raw in reversed(text.splitlines()) if (line := _normal(raw))), "")
    held = {letter: key for letter, option in zip(_ALPHABET, config.options, strict=False) if (key := _normal(option))}
    held = {letter: key for letter, key in held.items() if f" {key} " in line}
    return {a for a, key in held.items() if not any(key != other and key in other for other in held.values())}


def _normal(text: str) -> str:
    return " ".join(re.findall(r"(?<![\w.,%/+-])[\w.,%/+-]*\w[\w%]*", plain(text).casefold()))
