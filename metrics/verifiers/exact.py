"""The reply's text against the gold text, character by character after the stated normalisation; knows no meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers.formats import wordings
from ratoon.metrics.verifiers.formats.values import right_text, wrong_text
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "exact-1"


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
    said = _normal(part, config) if part is not None else ""
    gold = _normal(answer, config) if answer is not None else ""
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
    """What these args ask for."""
    return Formats(wordings.at(str(args.get("extract", "whole"))), right_text, wrong_text)


def _normal(text: str, config: ExactArgs) -> str:
    text = " ".join(text.split()) if config.collapse_spaces else text.strip()
    text = text.strip(config.strip + " ") if config.strip else text
    return text.casefold() if config.ignore_case else text
