"""The reply's text against the gold text, character by character after the stated normalisation; knows no meaning.

Emphasis around all of the part (`**Paris**`, `_Paris_`, code marks, dollar signs) is no part of the answer, unless the gold
has it; composed and decomposed letters are one (NFC); a gold `4.0`, as tables of floats write it, is also said by `4`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers.formats import families, wordings
from ratoon.metrics.verifiers.formats.values import right_text, wrong_text
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "exact-2"
_FLOAT_OF_A_TABLE = re.compile(r"([-+]?\d+)\.0")


class ExactArgs(Config):
    """What a task's `verifier_args` may say."""

    extract: places.Place = Field("whole", description="which part of the reply is compared")
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")
    ignore_case: bool = Field(False, description="compare case-folded")
    collapse_spaces: bool = Field(True, description="each run of white space is one blank")
    strip: str = Field("", description="further characters that are cut off both ends, for example `.\"'`")


def version() -> str:
    """Changes with every verdict that changes."""
    return VERSION


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the part equals the gold; abstain when the gold is empty. Raises ConfigError on bad args."""
    config = parsed_args(ExactArgs, args)
    part = places.place(text, config.extract, config.tag)
    forms = [form for layer in places.peelings(part or "") if (form := _normal(layer, config))]
    gold = _normal(answer, config) if answer is not None else ""
    said = gold if gold in _readings(forms, gold) else forms[-1] if forms else ""
    if not gold:
        return abstained("gold is empty", said or None)
    if not text or text.isspace():
        return EMPTY
    if not said:
        return unparsed(f"nothing in {config.extract!r}")
    return passed(said) if said == gold else failed("wrong", said)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(ExactArgs, args)
    return places.specimen(answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for, and what they do not."""
    return Formats(wordings.at(str(args.get("extract", "whole"))), right_text, wrong_text, families.PLACES, families.of_text)


def _readings(forms: list[str], gold: str) -> list[str]:
    """The forms of a reply's answer; `4` is also the `4.0` of a gold from a table of floats."""
    table = _FLOAT_OF_A_TABLE.fullmatch(gold)
    return [gold if table is not None and form == table[1] else form for form in forms]


def _normal(text: str, config: ExactArgs) -> str:
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    text = " ".join(text.split()) if config.collapse_spaces else text.strip()
    text = text.strip(config.strip + " ") if config.strip else text
    return text.casefold() if config.ignore_case else text
