"""The verifiers by name; a user's own is found by entry point group `ratoon.verifiers` or passed in Python.

Adding one: its file (a frozen config of arguments, `verify`, `specimen`, `version`, `formats`), one line here, its test. A
user's is `verify(text, answer, args)` and may return a bool, None (abstain), a number (passes at 1.0) or a Verdict.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ratoon import plugins
from ratoon.errors import ConfigError, UsageError
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.verifiers import alternatives, choice, code, exact, math, numeric, reasoning_gym, sql
from ratoon.metrics.verifiers.verifier import OWN_FORMATS, Formats, Verifier

Function = Callable[..., Any]
GROUP = "ratoon.verifiers"

VERIFIERS: dict[str, Verifier] = {
    "exact": Verifier(exact.ExactArgs, exact.verify, exact.specimen, exact.version, exact.formats),
    "numeric": Verifier(numeric.NumericArgs, numeric.verify, numeric.specimen, numeric.version, numeric.formats),
    "math": Verifier(math.MathArgs, math.verify, math.specimen, math.version, math.formats, math.library),
    "choice": Verifier(choice.ChoiceArgs, choice.verify, choice.specimen, choice.version, choice.formats),
    "reasoning_gym": Verifier(
        reasoning_gym.ReasoningGymArgs,
        reasoning_gym.verify,
        reasoning_gym.specimen,
        reasoning_gym.version,
        reasoning_gym.formats,
        reasoning_gym.library,
    ),
    "code": Verifier(code.CodeArgs, code.verify, code.specimen, code.version, code.formats, sandbox.require),
    "sql": Verifier(sql.SqlArgs, sql.verify, sql.specimen, sql.version, sql.formats, sandbox.require),
}

_NONE: Mapping[str, Function] = {}


def resolve(name: str, extra: Mapping[str, Function] = _NONE) -> Function:
    """The function of verifier `name`: one of `extra`, ours, or an entry point. Raises UsageError with the nearest name."""
    if name in extra:
        return extra[name]
    if name in VERIFIERS:
        return VERIFIERS[name].verify
    near = difflib.get_close_matches(name, [*VERIFIERS, *extra], n=1)
    try:
        return plugins.find(GROUP, name, extra)
    except ConfigError as error:
        if "no entry point" not in error.message:
            raise
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted([*VERIFIERS, *extra]))}; {error.hint}"
        raise UsageError(f"no verifier is called {name!r}", hint) from None


def is_ours(name: str, function: Function) -> bool:
    """Whether `function` is the catalogue's verifier `name`, not a user's."""
    return name in VERIFIERS and VERIFIERS[name].verify is function


def version(name: str, extra: Mapping[str, Function] = _NONE) -> str:
    """What decides the verdicts of `name`: our version (with the library's), or the digest of the user's source."""
    function = resolve(name, extra)
    return VERIFIERS[name].version() if is_ours(name, function) else plugins.version(function)


def load(name: str, extra: Mapping[str, Function] = _NONE) -> None:
    """Import verifier `name` and what it needs. Raises UsageError, MissingExtra, NoSandbox."""
    resolve(name, extra)
    library = VERIFIERS[name].library if name in VERIFIERS else None
    if library is not None:
        library()


def gold_reply(name: str, answer: str, args: Mapping[str, Any]) -> str:
    """A reply that says `answer` the way this verifier wants it: for the gold check and for trivial policies."""
    return VERIFIERS[name].specimen(answer, alternatives.without(args)) if name in VERIFIERS else answer


def formats(name: str, args: Mapping[str, Any]) -> Formats:
    """What is planted before verifier `name` under these arguments."""
    return VERIFIERS[name].formats(alternatives.without(args)) if name in VERIFIERS else OWN_FORMATS
