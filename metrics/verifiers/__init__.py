"""The verifiers by name; a user's own is found by entry point group `ratoon.verifiers` or passed in Python.

A verifier is `verify(text, answer, args)`; a user's may return a bool, None (abstain), a number (passes at 1.0) or a Verdict.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ratoon import plugins
from ratoon.config import Config
from ratoon.errors import ConfigError, UsageError
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.verifiers import choice, code, exact, math, numeric, reasoning_gym, sql
from ratoon.metrics.verifiers.verdict import Verdict, parsed_args

Function = Callable[..., Any]
GROUP = "ratoon.verifiers"

VERIFIERS: dict[str, Callable[[str, str | None, dict[str, Any]], Verdict]] = {
    "exact": exact.verify,
    "numeric": numeric.verify,
    "math": math.verify,
    "choice": choice.verify,
    "reasoning_gym": reasoning_gym.verify,
    "code": code.verify,
    "sql": sql.verify,
}
ARGS: dict[str, type[Config]] = {
    "exact": exact.ExactArgs,
    "numeric": numeric.NumericArgs,
    "math": math.MathArgs,
    "choice": choice.ChoiceArgs,
    "reasoning_gym": reasoning_gym.ReasoningGymArgs,
    "code": code.CodeArgs,
    "sql": sql.SqlArgs,
}
SPECIMENS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "exact": exact.specimen,
    "numeric": numeric.specimen,
    "math": math.specimen,
    "choice": choice.specimen,
    "reasoning_gym": reasoning_gym.specimen,
    "code": code.specimen,
    "sql": sql.specimen,
}
_VERSIONS: dict[str, Callable[[], str]] = {
    "exact": lambda: exact.VERSION,
    "numeric": lambda: numeric.VERSION,
    "math": math.version,
    "choice": lambda: choice.VERSION,
    "reasoning_gym": reasoning_gym.version,
    "code": lambda: code.VERSION,
    "sql": sql.version,
}
LIBRARIES: dict[str, Callable[[], object]] = {
    "math": math.library,
    "reasoning_gym": reasoning_gym.library,
    "code": sandbox.require,
    "sql": sandbox.require,
}

_NONE: Mapping[str, Function] = {}


def resolve(name: str, extra: Mapping[str, Function] = _NONE) -> Function:
    """The verifier `name`: one of `extra`, ours, or an entry point. Raises UsageError with the nearest name."""
    if name in extra:
        return extra[name]
    if name in VERIFIERS:
        return VERIFIERS[name]
    near = difflib.get_close_matches(name, [*VERIFIERS, *extra], n=1)
    try:
        return plugins.find(GROUP, name, extra)
    except ConfigError as error:
        if "no entry point" not in error.message:
            raise
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted([*VERIFIERS, *extra]))}; {error.hint}"
        raise UsageError(f"no verifier is called {name!r}", hint) from None


def version(name: str, extra: Mapping[str, Function] = _NONE) -> str:
    """What decides the verdicts of `name`: our version (with the library's), or the digest of the user's source."""
    function = resolve(name, extra)
    return _VERSIONS[name]() if VERIFIERS.get(name) is function else plugins.version(function)


def check_args(name: str, args: Mapping[str, Any]) -> None:
    """Raise ConfigError unless our verifier `name` can use `args`; a user's verifier takes any."""
    if name in ARGS:
        parsed_args(ARGS[name], args)


def gold_reply(name: str, answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` the way this verifier wants it: for the gold check and for trivial policies."""
    return SPECIMENS[name](answer, args) if name in SPECIMENS else answer
