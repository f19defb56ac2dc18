"""Tasks of several gold answers, of which any will do: the others lie in `verifier_args` under `alternatives`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ratoon.metrics.verifiers.verdict import Verdict, as_verdict, errored

NAME = "alternatives"
_WORTH = {"pass": 3, "fail": 2, "abstain": 1, "error": 0}


def without(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The verifier's own arguments."""
    return {name: value for name, value in args.items() if name != NAME} if NAME in args else args


def judge(verify: Callable[..., Any], text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """The best verdict over all golds, the first gold's among equals: one that cannot be judged hides none that can."""
    others = args[NAME]
    if not isinstance(others, list | tuple) or not all(isinstance(gold, str) for gold in others):
        return errored(f"{NAME} is no list of texts")
    own = without(args)
    best = as_verdict(verify(text, answer, own))
    for gold in others:
        if best.status == "pass":
            break
        verdict = as_verdict(verify(text, gold, own))
        if _WORTH[verdict.status] > _WORTH[best.status]:
            best = verdict
    return best
