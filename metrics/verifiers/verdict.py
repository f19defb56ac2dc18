"""What a verifier says about one reply; knows no verifier, no table and no process.

`fail` is anything the policy caused, `abstain` says that nobody could judge this task, `error` is infrastructure. Details are a
small vocabulary: `wrong`, `empty`, `unparsed: why`, `length`; groups count `empty` and `unparsed` replies as unparsed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from ratoon import ids
from ratoon.config import Config, parse
from ratoon.surrogates import message_without_surrogates, without_surrogates

STATUSES = ("pass", "fail", "abstain", "error")
Model = TypeVar("Model", bound=Config)


class Verdict(NamedTuple):
    """`value` is the raw score where there is one, `answer` the canonical answer that was read out of the reply."""

    status: str
    value: float | None = None
    answer: str | None = None
    detail: str | None = None


def passed(answer: str | None = None, value: float = 1.0) -> Verdict:
    """Right."""
    return Verdict("pass", value, answer)


def failed(detail: str, answer: str | None = None, value: float = 0.0) -> Verdict:
    """The policy's own fault."""
    return Verdict("fail", value, answer, detail)


def unparsed(why: str) -> Verdict:
    """No answer can be read out of the reply: off-format, so a failure."""
    return Verdict("fail", 0.0, None, f"unparsed: {why}")


def abstained(detail: str, answer: str | None = None) -> Verdict:
    """The gold or the verifier cannot judge, whatever the policy wrote; the answer still counts as a vote."""
    return Verdict("abstain", None, answer, detail)


def errored(detail: str) -> Verdict:
    """Infrastructure failed; says nothing about the policy."""
    return Verdict("error", None, None, detail)


EMPTY = failed("empty")


def is_unparsed(detail: str | None) -> bool:
    """Whether a failure's detail says that no answer could be read."""
    return detail is not None and (detail == "empty" or detail.startswith("unparsed"))


def encodable(verdict: Verdict) -> Verdict:
    """The verdict with answer and detail as UTF-8 can hold them: what a program raises can be any string."""
    status, value, answer, detail = verdict
    return Verdict(
        status,
        value,
        None if answer is None else without_surrogates(answer)[0],
        None if detail is None else message_without_surrogates(detail),
    )


def as_verdict(returned: object) -> Verdict:
    """What a user's verifier returned as a verdict: bool, None (abstain), a number (passes at 1.0) or a Verdict."""
    if isinstance(returned, Verdict):
        if returned.status in STATUSES:
            return returned
        return errored(f"verifier returned status {returned.status!r}, not one of {', '.join(STATUSES)}")
    if returned is None:
        return abstained("verifier abstained")
    value = returned.item() if hasattr(returned, "item") else returned  # NumPy scalars
    if isinstance(value, bool):
        return passed() if value else failed("wrong")
    if isinstance(value, int | float) and not math.isnan(value):
        return passed(value=float(value)) if value >= 1.0 else failed("wrong", value=float(value))
    return errored(f"verifier returned {returned!r:.80}, not bool, None, a number or a Verdict")


def args_of(text: str | None) -> dict[str, Any] | None:
    """A task's `verifier_args` as a dict, empty where it has none; None when they are no JSON object."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_recent: dict[type[Config], tuple[dict[str, Any], Config]] = {}


def parsed_args(model: type[Model], args: Mapping[str, Any]) -> Model:
    """`args` as a `model`, parsed once per distinct content. Raises ConfigError."""
    # Neighbours mostly carry the same arguments, and comparing two small dicts is far cheaper than writing canonical JSON.
    recent = _recent.get(model)
    if recent is not None and recent[0] == args:
        return cast(Model, recent[1])
    config = _parsed(model, ids.canonical_json(args))
    _recent[model] = (dict(args), config)
    return config


@lru_cache(maxsize=1024)
def _parsed(model: type[Model], text: str) -> Model:
    return parse(model, json.loads(text), "verifier_args")
