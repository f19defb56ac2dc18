"""Scores a reply with the reasoning-gym generator that made the task; knows nothing of the puzzle itself.

reasoning-gym pays partial credit (a long reply that merely contains the oracle, a shared prefix), so only a score of 1.0
passes; the raw score stays in `value`. `verifier_args` carries the generator's name and its entry as plain JSON.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import ConfigError, MissingExtra
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats import families, wordings
from ratoon.metrics.verifiers.formats.values import wrong_number
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats


class ReasoningGymArgs(Config):
    """What a task's `verifier_args` must say."""

    dataset: str = Field(description="the generator, for example `chain_sum`")
    entry: dict[str, Any] = Field(description="the generator's own entry: question, answer, metadata")
    extract: Literal["whole", "last_line", "boxed", "tagged", "last_number"] = Field(
        "tagged", description="which part of the reply is scored"
    )
    tag: str = Field("answer", min_length=1, description="for `tagged`: <tag>…</tag>, or what follows `Tag:`")


def version() -> str:
    """This file's version and the library's, because both decide."""
    try:
        return f"reasoning_gym-2+{importlib.metadata.version('reasoning-gym')}"
    except importlib.metadata.PackageNotFoundError:
        return "reasoning_gym-2"


@cache
def library() -> ModuleType:
    """reasoning-gym, imported once. Raises MissingExtra."""
    try:
        import reasoning_gym
    except ImportError:
        raise MissingExtra("reasoning-gym", "tasks") from None
    return reasoning_gym


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the generator scores the reply 1.0; abstain when it needs an answer and has none. Raises ConfigError.

    The entry is the gold: many generators accept any right solution, some name none, so `answer` itself is not looked at.
    """
    config = parsed_args(ReasoningGymArgs, args)
    said = _part(text, config)
    score, needs_answer = _scorer(config.dataset)
    if needs_answer and config.entry.get("answer") is None:
        return abstained("entry holds no answer", said)
    if not text or text.isspace():
        return EMPTY
    if said is None:
        return unparsed(f"nothing in {config.extract!r}")
    value = float(score(said, _with_grids(config.entry) if config.dataset in _GRIDS else config.entry))
    return passed(said, value) if value >= 1.0 else failed("wrong", said, value)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` as these args want it said."""
    config = parsed_args(ReasoningGymArgs, args)
    return places.specimen(answer, config.extract, config.tag)


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for, and what they do not."""
    place = str(args.get("extract", "tagged"))
    return Formats(wordings.at("last" if place == "last_number" else place), wrong=wrong_number, places=families.PLACES)


def _part(text: str, config: ReasoningGymArgs) -> str | None:
    if config.extract != "last_number":
        return places.place(text, config.extract, config.tag) or None
    line, found = numbers.last(text)
    # The generators compare text, so the number goes to them as written, without the group separators.
    return "".join(line[found[-1].start : found[-1].end].replace(",", "").split()) if found else None


@cache
def _scorer(dataset: str) -> tuple[Callable[[str, dict[str, Any]], float], bool]:
    """The generator's scorer, and whether it is the library's default, which compares with the entry's answer."""
    try:
        score = library().get_score_answer_fn(dataset)
    except ValueError as error:
        raise ConfigError(f"verifier_args.dataset = {dataset!r}: {error}", "name a generator of reasoning-gym") from None
    from reasoning_gym.dataset import ProceduralDataset

    return score, getattr(score, "__func__", None) is ProceduralDataset.score_answer


_GRIDS = frozenset({"arc_agi", "rearc"})


def _with_grids(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its grids as tuples again: these two compare them with `==`, and JSON made them lists."""
    metadata = entry.get("metadata") or {}
    grids = {name: tuple(map(tuple, metadata[name])) for name in ("input", "output") if name in metadata}
    return entry | {"metadata": metadata | grids}
