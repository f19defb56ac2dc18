"""Replies judged outside a run, their answer without their thinking: `from ratoon import judge_reply`; knows no table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ratoon import reply as replies
from ratoon.errors import UsageError
from ratoon.metrics.verifiers import VERIFIERS, alternatives, load, resolve
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import Verdict, as_verdict, failed, parsed_args

_TIMEOUT_S = 5.0


def judge_reply(reply: str, answer: str | None, verifier: str = "math", *, inline: bool = False, **args: Any) -> Verdict:
    """What `verifier` says about one reply: `status` (pass, fail, abstain, error), the `answer` it read, `detail`, `value`.

    `args` are the verifier's own (see "Arguments of verifiers" in the reference), checked by its model, and `alternatives`, a
    list of other golds of which any will do. Judged in a worker
    process that is killed after 5 s and kept for the next call; `inline` judges here, without that bound. Raises ConfigError
    on bad arguments, UsageError for an unknown verifier, MissingExtra or NoSandbox for what it needs.

    >>> judge_reply(r"So it is \\\\boxed{0.5}.", r"\\\\frac{1}{2}", inline=True).status
    'pass'
    """
    if not isinstance(reply, str) or not isinstance(answer, str | None):
        kinds = f"{type(reply).__name__} and {type(answer).__name__}"
        raise UsageError(f"a reply and its answer are texts, not {kinds}", "give str(answer), or None where there is none")
    function = resolve(verifier)
    if verifier in VERIFIERS:
        parsed_args(VERIFIERS[verifier].args, alternatives.without(args))
    item = Item(verifier, reply, answer, args)
    if not inline:
        return judge_items([item], _pool())[0]
    load(verifier)
    text, unfinished = _answer(reply)
    if alternatives.NAME in args:
        return _unless_unfinished(alternatives.judge(function, text, answer, args), unfinished)
    return _unless_unfinished(as_verdict(function(text, answer, args)), unfinished)


def judge_items(items: Sequence[Item], pool: VerifierPool) -> list[Verdict]:
    """One verdict per whole reply, in order; thinking between `<think>` tags is no part of the answer."""
    answers = [_answer(item.text) for item in items]
    verdicts = pool.run([item._replace(text=text) for item, (text, _) in zip(items, answers, strict=True)])
    return [_unless_unfinished(verdict, unfinished) for verdict, (_, unfinished) in zip(verdicts, answers, strict=True)]


def _answer(reply: str) -> tuple[str, bool]:
    """The answer of a reply, and whether its thinking never ended."""
    parts = replies.parts(reply)
    return parts.answer or "", parts.answer_start is None


def _unless_unfinished(verdict: Verdict, unfinished: bool) -> Verdict:
    return failed(replies.UNFINISHED) if unfinished and verdict.status != "abstain" else verdict


@cache
def _pool() -> VerifierPool:
    """One worker for all calls of this process; it goes when the process does."""
    return VerifierPool(1, _TIMEOUT_S)
