"""Mathematical equivalence by math-verify (LaTeX and plain expressions, SymPy); knows no process.

`verify` of math-verify is not symmetric, so the gold comes first. Boxes side by side are one answer of several values. A reply
without a parsable expression is `unparsed`, not merely wrong; a gold that does not parse abstains. Its signal-based time-outs
are off, because they count wall time; what takes too much CPU time is a failure here, and the worker pool kills what hangs.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import MissingExtra
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats import families, wordings
from ratoon.metrics.verifiers.formats.values import right_expression, wrong_expression
from ratoon.metrics.verifiers.math_equal import TooLong, surely_differ, within
from ratoon.metrics.verifiers.math_text import (
    announced,
    cleaned,
    finally_announced,
    in_base,
    in_pieces,
    too_large,
    without_unit,
)
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

_FLOAT = re.compile(r"-?\d+\.\d+(e[-+]?\d{1,2})?")
_MOST_CHARACTERS = 2000
_MOST_PIECES = 6  # that many environments in a row the library reads as one list
_GOLD_CPU_S = 3.0


class MathArgs(Config):
    """What a task's `verifier_args` may say."""

    boxed_only: bool = Field(
        False, description="only `\\boxed{…}` counts; otherwise the box comes first, then an announced answer"
    )
    unanchored: bool = Field(False, description="also take an expression that nothing announces")
    float_rounding: int = Field(6, ge=0, le=15, description="decimals to which floats are rounded")
    numeric_precision: int = Field(15, ge=1, le=50, description="digits of numeric evaluation")
    strict: bool = Field(True, description="variables and sets must match in kind")
    cpu_s: float = Field(0.8, gt=0, description="CPU seconds for one reply; what takes longer fails")


class _Reading(NamedTuple):
    """What a text answers: the part it was read from, and the expressions that the part may mean; none where it means none."""

    part: str
    expressions: tuple[Any, ...]


_NOTHING = _Reading("", ())


def version() -> str:
    """This file's version and the library's, because both decide."""
    try:
        return f"math-3+{importlib.metadata.version('math-verify')}"
    except importlib.metadata.PackageNotFoundError:
        return "math-3"


@cache
def library() -> ModuleType:
    """math-verify, imported once and warm. Raises MissingExtra."""
    try:
        import math_verify
    except ImportError:
        raise MissingExtra("math-verify", "tasks") from None
    # Else it warns about the time-outs that we switched off.
    for name in ("math_verify", "math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    one = _parsed(math_verify, r"$\frac{1}{2}$", unanchored=True)  # the first parse builds tables, at no reply's expense
    math_verify.verify(one, one, timeout_seconds=None)
    interval, relation = (_parsed(math_verify, text, unanchored=True) for text in ("$[0,1)$", r"$0 \le x < 1$"))
    math_verify.verify(interval, relation, allow_set_relation_comp=True, timeout_seconds=None)
    return math_verify


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the reply is equivalent to the gold; abstain when the gold does not parse. Raises ConfigError on bad args."""
    config = parsed_args(MathArgs, args)
    gold = _gold(answer) if answer else _NOTHING
    no_gold = abstained(f"gold {answer!r:.80} does not parse")
    if not text or text.isspace():
        return EMPTY if gold.expressions else no_gold
    library()  # loading it is no part of a reply's time
    try:
        with within(config.cpu_s):
            said = _reply(text, config)
            shown = _canonical(said) if said.expressions else None
            if not gold.expressions:
                return no_gold._replace(answer=shown)
            if shown is None:
                return unparsed("no expression")
            return passed(shown) if _equal(gold, said, config) else failed("wrong", shown)
    except TooLong:
        return failed(f"wrong: not decided in {config.cpu_s:g} s of CPU time") if gold.expressions else no_gold
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError, AttributeError, NotImplementedError) as error:
        return failed(f"wrong: {type(error).__name__} in its expression") if gold.expressions else no_gold


def same(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when two replies say equivalent things: `answer` is a whole reply too, read as `text` is. For votes, not tasks."""
    config = parsed_args(MathArgs, args)
    try:
        with within(2 * config.cpu_s):
            here, there = _reply(text, config), _reply(answer or "", config)
            if not here.expressions or not there.expressions:
                return unparsed("no expression")
            return passed() if _equal(there, here, config) else failed("wrong")
    except (TooLong, ArithmeticError, ValueError, TypeError, RecursionError, MemoryError, AttributeError, NotImplementedError):
        return failed("wrong: not decided")


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    return answer if places.boxes(answer) else places.specimen(answer.strip().strip("$"), "boxed")


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for (a box, and announced answers where not only the box counts), and what they do not."""
    boxed = wordings.at("boxed")
    announced_too = () if args.get("boxed_only") else wordings.ANNOUNCED
    return Formats(
        boxed._replace(usual=(*boxed.usual, *announced_too)),
        right_expression,
        wrong_expression,
        families.PLACES,
        families.of_expression,
    )


def _equal(gold: _Reading, said: _Reading, config: MathArgs) -> bool:
    based = in_base(gold.part), in_base(said.part)
    if any(based):
        return based[0] == based[1]
    if _squeezed(gold.part) == _squeezed(said.part):
        return True
    value = _plain_number(gold.part, "auto")
    if value is not None and value == _plain_number(said.part, "auto"):
        return True
    right = library().verify(
        list(gold.expressions), list(said.expressions), float_rounding=config.float_rounding,
        numeric_precision=config.numeric_precision, strict=config.strict, allow_set_relation_comp=True, timeout_seconds=None,
    )  # fmt: skip
    return bool(right) and not surely_differ(gold.expressions, said.expressions)


def _squeezed(part: str) -> str:
    return "".join(part.split())


def _plain_number(part: str, decimal: numbers.Decimal) -> Fraction | None:
    number = numbers.whole(part, "comma", decimal) if len(part) < _MOST_CHARACTERS else None
    return None if number is None or number.percent else number.value


@lru_cache(maxsize=65536)
def _gold(answer: str) -> _Reading:
    """The gold's expressions: those of its boxes or, without one, of its math environments; a bare gold is one expression."""
    try:
        with within(_GOLD_CPU_S):
            parts = places.boxes(answer)
            if parts:
                return _of_parts(parts)
            if any(mark in answer for mark in ("\\(", "\\[")) or "$" in answer.replace("\\$", ""):
                inside = announced(f"Answer: {answer}") or answer
                found = _in_text(answer, unanchored=True)
                return _Reading(inside, found) if found else _of_parts([inside])
            return _of_parts([answer])
    except (TooLong, ArithmeticError, ValueError, TypeError, RecursionError, MemoryError, AttributeError, NotImplementedError):
        return _NOTHING


def _reply(text: str, config: MathArgs) -> _Reading:
    """Boxes first, then what is announced, then whatever the library finds announced (or finds at all, `unanchored`)."""
    parts = places.boxes(text)
    part = None if config.boxed_only else finally_announced(text) if parts else announced(text)
    if part is None and (parts or config.boxed_only):
        return _of_parts(parts)
    reading = _of_parts([part]) if part else _NOTHING
    if reading.expressions:
        return reading
    if parts:
        return _of_parts(parts)
    tail = text[-_MOST_CHARACTERS:]
    tail = tail.partition("\n")[2] or tail if len(tail) < len(text) else tail
    return _Reading(tail.strip().strip("$"), _in_text(tail, unanchored=config.unanchored))


def _of_parts(parts: Sequence[str]) -> _Reading:
    """Several parts are one list; what is no LaTeX is tried piece by piece, and as a plain expression."""
    part = ", ".join(filter(None, map(cleaned, parts)))
    part = without_unit(part) if len(parts) == 1 else part
    if not part or len(part) > _MOST_CHARACTERS or too_large(part):
        return _NOTHING
    in_turn = ", ".join(f"${piece}$" for piece in in_pieces(part)[:_MOST_PIECES])
    for text in (rf"$\boxed{{{part}}}$", in_turn, part):
        found = _parsed(library(), text, unanchored=True)
        if found:
            return _Reading(part, tuple(found))
    return _NOTHING


def _in_text(text: str, *, unanchored: bool) -> tuple[Any, ...]:
    return () if too_large(text) else tuple(_parsed(library(), text, unanchored=unanchored))


def _parsed(mv: ModuleType, text: str, *, unanchored: bool) -> list[Any]:
    targets = [
        mv.LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=unanchored),
        mv.ExprExtractionConfig(try_extract_without_anchor=unanchored),
    ]
    return list(mv.parse(text, extraction_config=targets, fallback_mode="no_fallback", parsing_timeout=None))


def _canonical(reading: _Reading) -> str:
    """One text for equal numbers (`0.5` and `1/2` are one vote), SymPy's own otherwise, the part's where that is too long."""
    based, number = in_base(reading.part), _plain_number(reading.part, "point")
    if based is not None:
        return f"{based[0]}_{based[1]}"
    if number is not None:
        return numbers.canonical(number)
    try:
        text = str(reading.expressions[0])
    except ValueError:  # more digits than Python writes
        return _squeezed(reading.part)
    return numbers.canonical(Fraction(text)) if _FLOAT.fullmatch(text) else text
