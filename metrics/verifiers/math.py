"""Mathematical equivalence by math-verify (LaTeX and plain expressions, SymPy); knows no process and no clock.

`verify` of math-verify is not symmetric, so the gold comes first; its signal-based time-outs are off, because the worker
pool kills what hangs; a reply without a parsable expression is `unparsed`, not merely wrong; a gold that does not parse
abstains.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import MissingExtra
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats import wordings
from ratoon.metrics.verifiers.formats.values import right_expression, wrong_expression
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

_FLOAT = re.compile(r"-?\d+\.\d+(e[-+]?\d{1,2})?")
_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(]?\s*[-+]?(?:\d{4,}|\d+\s*(?:\^|\*\*|!))|\d{5,}\s*!|!\s*!")


class MathArgs(Config):
    """What a task's `verifier_args` may say."""

    boxed_only: bool = Field(
        False, description="only `\\boxed{…}` counts; otherwise the box comes first, then an announced answer"
    )
    unanchored: bool = Field(False, description="also take an expression that nothing announces")
    float_rounding: int = Field(6, ge=0, le=15, description="decimals to which floats are rounded")
    numeric_precision: int = Field(15, ge=1, le=50, description="digits of numeric evaluation")
    strict: bool = Field(True, description="variables and sets must match in kind")


def version() -> str:
    """This file's version and the library's, because both decide."""
    try:
        return f"math-1+{importlib.metadata.version('math-verify')}"
    except importlib.metadata.PackageNotFoundError:
        return "math-1"


@cache
def library() -> ModuleType:
    """math-verify, imported once. Raises MissingExtra."""
    try:
        import math_verify
    except ImportError:
        raise MissingExtra("math-verify", "tasks") from None
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # else it warns about the time-outs that we switched off
    return math_verify


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the reply is equivalent to the gold; abstain when the gold does not parse. Raises ConfigError on bad args."""
    config = parsed_args(MathArgs, args)
    gold = _gold(answer) if answer else ()
    if not text or text.isspace():
        return EMPTY if gold else abstained(f"gold {answer!r:.80} does not parse")
    said = _reply(text, config)
    shown = _canonical(said[0]) if said else None
    if not gold:
        return abstained(f"gold {answer!r:.80} does not parse", shown)
    if not said:
        return unparsed("no expression")
    right = library().verify(
        list(gold), said, float_rounding=config.float_rounding, numeric_precision=config.numeric_precision,
        strict=config.strict, timeout_seconds=None,
    )  # fmt: skip
    return passed(shown) if right else failed("wrong", shown)


def same(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when two replies say equivalent things: `answer` is a whole reply too, read as `text` is. For votes, not tasks."""
    config = parsed_args(MathArgs, args)
    here, there = _reply(text, config), _reply(answer or "", config)
    if not here or not there:
        return unparsed("no expression")
    right = library().verify(
        there, here, float_rounding=config.float_rounding, numeric_precision=config.numeric_precision, strict=config.strict,
        timeout_seconds=None,
    )  # fmt: skip
    return passed() if right else failed("wrong")


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    return answer if "\\boxed" in answer else places.specimen(answer.strip().strip("$"), "boxed")


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for: a box, and announced answers where not only the box counts."""
    boxed = wordings.at("boxed")
    announced = () if args.get("boxed_only") else wordings.ANNOUNCED
    return Formats(boxed._replace(usual=(*boxed.usual, *announced)), right_expression, wrong_expression)


@lru_cache(maxsize=65536)
def _gold(answer: str) -> tuple[Any, ...]:
    """The gold's expressions; LaTeX is only read inside a math environment, so a bare gold is put into one."""
    if _EXPONENT.search(answer):
        return ()
    bare = not any(mark in answer for mark in ("$", "\\boxed", "\\(", "\\["))
    for text in (f"${answer}$", answer) if bare else (answer,):
        found = _parse(text, [library().LatexExtractionConfig(), library().ExprExtractionConfig()])
        if found:
            return tuple(found)
    return ()


def _reply(text: str, config: MathArgs) -> list[Any]:
    mv = library()
    part = places.boxed(text)
    if part is None and config.boxed_only:
        return []
    if part is not None:
        # Only the box is shown to the parser, whose cost grows with the text.
        text = rf"$\boxed{{{part}}}$"
    if _EXPONENT.search(text if part is None else part):
        return []
    latex = mv.LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=config.unanchored or part is not None)
    return _parse(text, [latex, mv.ExprExtractionConfig(try_extract_without_anchor=config.unanchored)])


def _parse(text: str, targets: list[Any]) -> list[Any]:
    return library().parse(text, extraction_config=targets, fallback_mode="no_fallback", parsing_timeout=None)


def _canonical(expression: Any) -> str:
    """One text for equal numbers (`0.5` and `1/2` are one vote), SymPy's own otherwise."""
    text = str(expression)
    return numbers.canonical(Fraction(text)) if _FLOAT.fullmatch(text) else text
