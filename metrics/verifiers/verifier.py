"""What a verifier is, as its catalogue holds it; knows no verifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ratoon.config import Config
from ratoon.metrics.verifiers.formats import families
from ratoon.metrics.verifiers.formats.values import Values, other_answers, plain
from ratoon.metrics.verifiers.formats.wordings import WHOLE, Wordings
from ratoon.metrics.verifiers.verdict import Verdict


class Formats(NamedTuple):
    """What is planted before a verifier: wordings of a reply, right answers `right(gold, args)` by name of their format, and
    wrong ones `wrong(gold, args, golds of other tasks)` by name of the mutation.

    `places` and `forms(answer)` are families of wordings that its arguments do not ask for, and that models write anyway.
    """

    wordings: Wordings
    right: Callable[[str, Mapping[str, Any]], Values] = plain
    wrong: Callable[[str, Mapping[str, Any], Sequence[str]], Values] = other_answers
    places: families.Places = families.NO_PLACES
    forms: Callable[[str], families.Forms] = families.none


class Verifier(NamedTuple):
    """A catalogue entry: its arguments, `verify(reply, gold, args) -> Verdict`, its version, and the formats it reads.

    `specimen(gold, args)` is a reply that says the gold as the arguments want it; `formats(args)` is what is planted under
    them; `library()` loads what it needs, or raises with what is missing.
    """

    args: type[Config]
    verify: Callable[[str, str | None, Mapping[str, Any]], Verdict]
    specimen: Callable[[str, Mapping[str, Any]], str]
    version: Callable[[], str]
    formats: Callable[[Mapping[str, Any]], Formats]
    library: Callable[[], object] | None = None


# A verifier of a user's own: nobody else knows what it takes but the bare answer.
OWN_FORMATS = Formats(Wordings(WHOLE[:1]))
