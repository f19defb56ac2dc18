"""Judges: a model asked what a reply is worth (rubric), or which of two is better (pairwise); the engine is an argument.

A rubric's score is the expected digit: the softmax over the rubric's digits at the first visible token, where the engine gives
the likeliest log-probs; the digit itself otherwise (DEITA, 2312.15685, whose code scores a reply without a digit 3; here it
abstains). Two replies are compared in both orders; a judge that changes its mind with the order abstains. Whatever is not in
the form that was asked for abstains: the judge is told the form and nothing is guessed. Judgments are not verdicts: long
replies and the judge's own style are liked, so agreement and rank correlation with length are told beside every score.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.engine import Completion, Engine, Policy, Request, Sampling
from ratoon.errors import EngineError
from ratoon.messages import user
from ratoon.metrics.verifiers.fences import filled
from ratoon.render import Renderer
from ratoon.reply import parts as taken_apart

VERSION = "judge-1"
ROLE = SCORER = "judge"
RUBRIC_PROMPT = """Judge the reply to a task by this criterion: {criterion}

<task>
{task}
</task>
<reply>
{reply}
</reply>

Write one digit from {low} to {high} and nothing else: {low} is worst, {high} is best."""
PAIR_PROMPT = """Two replies to a task. Which is better by this criterion: {criterion}

<task>
{task}
</task>
<A>
{first}
</A>
<B>
{second}
</B>

Write A or B and nothing else."""
_FIELD = re.compile(r"\{(criterion|task|reply|low|high|first|second)\}")
_NEEDS = {"rubric": {"task", "reply", "low", "high"}, "pairwise": {"task", "first", "second"}}


class JudgeConfig(Config):
    """`[judge]`: a model judges the training replies. Its presence switches it on."""

    kind: Literal["rubric", "pairwise"] = Field(
        "rubric", description="a score of each reply, or which of two replies to one task is better (each beside its neighbour)"
    )
    by: Literal["base", "policy"] = Field(
        "base", description="who judges: the base model, the same in all rounds, or the policy that wrote the replies"
    )
    criterion: str = Field("is it right, and does it answer what was asked?", description="what is judged, in words")
    low: int = Field(1, ge=0, le=8, description="rubric: the worst digit")
    high: int = Field(5, ge=1, le=9, description="rubric: the best digit")
    prompt: str | None = Field(
        None, description="other wording; fields {criterion}, {task} and {reply}, {low}, {high} or {first}, {second}"
    )
    repeats: int = Field(1, ge=1, description="judgments of each reply or pair; from 2 on they are held against one another")
    temperature: float = Field(0.0, ge=0, description="of the judge; repeats need one above 0")
    max_tokens: int = Field(4, ge=1, description="most tokens of a judgment")
    top_logprobs: int = Field(20, ge=0, le=20, description="log-probs asked for at each place; 0 takes the digit as it is")
    max_abstained: float = Field(
        0.5, ge=0, le=1, description="share of judgments off format beyond which the run stops; a tenth of them is told"
    )

    @field_validator("prompt")
    @classmethod
    def _text(cls, prompt: str | None) -> str | None:
        if prompt is not None and not prompt.strip():
            raise ValueError("is empty")
        return prompt

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("repeats above 1 need a temperature above 0: the same judgment would be read twice")
        if self.prompt is not None and (lost := _NEEDS[self.kind] - set(_FIELD.findall(self.prompt))):
            raise ValueError(f"prompt lacks {', '.join(f'{{{name}}}' for name in sorted(lost))}")
        return self


class Judgment(NamedTuple):
    """What one reply of a judge says; `value` is a score of the scale, or 1.0 for the first and 0.0 for the second reply."""

    status: str | None
    value: float | None
    detail: str | None = None


def messages(config: JudgeConfig, task: str, reply: str, other: str | None = None) -> list[dict[str, str]]:
    """The conversation that asks for a judgment of `reply`, or of `reply` beside `other`.

    Texts go in as they are, and what they spell of the wording's tags or fences ends nothing (`fences.py`).
    """
    values = {"criterion": config.criterion, "task": task, "reply": reply, "first": reply, "second": other or "",
              "low": str(config.low), "high": str(config.high)}  # fmt: skip
    wording = config.prompt or (RUBRIC_PROMPT if config.kind == "rubric" else PAIR_PROMPT)
    return [user(filled(wording, values, {"task", "reply", "first", "second"}))]


def version(config: JudgeConfig, policy_id: str) -> str:
    """What decides the judgments: this file, the wording and scale, and who judges."""
    asked = config.model_dump(exclude={"max_abstained", "by", "repeats"})
    return f"{VERSION}+{ids.digest([asked, policy_id])[:12]}"


def sampling(config: JudgeConfig, end_of_turn_ids: tuple[int, ...], chat_template_kwargs: str = "{}") -> Sampling:
    """How the judge is sampled."""
    return Sampling(
        temperature=config.temperature, max_tokens=config.max_tokens, stop_token_ids=end_of_turn_ids,
        chat_template_kwargs=chat_template_kwargs,
    )  # fmt: skip


class Reader:
    """Reads judges' replies by one tokenizer."""

    def __init__(self, config: JudgeConfig, renderer: Renderer) -> None:
        self._config, self._renderer = config, renderer
        digits = [str(d) for d in range(config.low, config.high + 1)]
        # With and without a blank in front: both say the digit.
        spelled = {(digit, form): renderer.encode(form) for digit in digits for form in (digit, f" {digit}")}
        self._digits = {found[0]: float(digit) for (digit, _), found in spelled.items() if len(found) == 1}

    def read(
        self, text: str | None, token_ids: Sequence[int] | None, top: Sequence[Mapping[int, float]] | None, error: str | None
    ) -> Judgment:
        """The judgment in `text`, the answer of a reply of these ids; `abstain` where it is off format, `error` where there is
        no reply."""
        if error is not None or text is None:
            return Judgment("error", None, error or "no text")
        said = _letter(text) if self._config.kind == "pairwise" else _digit(text, self._config.low, self._config.high)
        if said is None:
            return Judgment("abstain", None, "off format")
        if self._config.kind == "rubric" and top:
            said = self._expected(self._place(token_ids or (), text), top, said)
        return Judgment(None, said)

    def _place(self, token_ids: Sequence[int], answer: str) -> int:
        """Where the answer's first visible token stands: thinking may come before it."""
        wanted, place = answer.strip(), 0
        for at in range(len(token_ids) - 1, -1, -1):
            rest = self._renderer.decode(token_ids[at:]).strip()
            if len(rest) > len(wanted):
                break
            place = at if self._renderer.decode([token_ids[at]]).strip() else place
        return place

    def _expected(self, place: int, top: Sequence[Mapping[int, float]], said: float) -> float:
        """The mean digit where the digit stands; the digit itself where its place has no log-probs."""
        found = top[place] if place < len(top) else {}
        return expected_score(found, self._digits) if found.keys() & self._digits.keys() else said


def expected_score(top: Mapping[int, float], digits: Mapping[int, float]) -> float:
    """The mean of the digits' values under the softmax of their log-probs; ids that are no digit do not count.

    >>> round(expected_score({10: -0.1, 11: -0.1, 99: 0.0}, {10: 1.0, 11: 5.0, 12: 3.0}), 6)
    3.0
    """
    weights = {id: math.exp(top[id]) for id in digits if id in top}
    return sum(digits[id] * w for id, w in weights.items()) / sum(weights.values())


def _digit(text: str, low: int, high: int) -> float | None:
    found = re.match(r"\s*(\d)(?![\d.,]*\d)", text)
    return float(found[1]) if found and low <= int(found[1]) <= high else None


def _letter(text: str) -> float | None:
    found = re.match(r"\s*([AB])\b", text)
    return None if found is None else float(found[1] == "A")


def both_orders(forward: Judgment, backward: Judgment) -> Judgment:
    """One judgment of two replies out of both orders: the same winner twice, or nothing.

    >>> both_orders(Judgment(None, 1.0), Judgment(None, 0.0)).value
    1.0
    """
    for judgment in (forward, backward):
        if judgment.status is not None:
            return judgment
    if forward.value == backward.value:  # both times the first, or both times the second
        return Judgment("abstain", None, "inconsistent: " + ("first" if forward.value else "second"))
    return Judgment(None, forward.value)


def judge(
    engine: Engine, renderer: Renderer, policy: Policy, items: Sequence[tuple[str, str] | tuple[str, str, str]],
    config: JudgeConfig,
) -> list[Judgment]:  # fmt: skip
    """One judgment per (task, reply) or (task, reply, other), in order; equal items are asked once. `repeats` is not looked at.

    Raises EngineError where the engine leaves requests without an answer. For flows, which keep every reply, see
    `pipelines/rollouts/judge.py`.
    """
    asked = list(dict.fromkeys(pair for item in items for pair in _orders(item)))
    prompts = renderer.render([messages(config, *item) for item in asked])
    how = sampling(config, renderer.end_of_turn_ids)
    requests = [
        Request(f"judge-{i}", policy.policy_id, tokens, how, messages=tuple(messages(config, *item)), role=ROLE,
                top_logprobs=config.top_logprobs if config.kind == "rubric" else 0)
        for i, (item, tokens) in enumerate(zip(asked, prompts, strict=True))
    ]  # fmt: skip
    engine.use(policy)
    ends = {request.request_id: renderer.prompt_end(request.prompt_token_ids) for request in requests}
    said = _read(engine.generate(requests), Reader(config, renderer), renderer, ends)
    if len(said) < len(requests):
        raise EngineError(f"the judge never answered {len(requests) - len(said)} of {len(requests)} requests", "ask again")
    found = {item: said[request.request_id] for item, request in zip(asked, requests, strict=True)}
    return [_one([found[order] for order in _orders(item)]) for item in items]


Item = tuple[str, str] | tuple[str, str, str]


def _orders(item: Item) -> list[Item]:
    return [item] if len(item) == 2 else [item, (item[0], item[2], item[1])]


def _one(judgments: Sequence[Judgment]) -> Judgment:
    return judgments[0] if len(judgments) == 1 else both_orders(*judgments)


def _read(
    completions: Iterable[Completion], reader: Reader, renderer: Renderer, ends: Mapping[str, str]
) -> dict[str, Judgment]:  # fmt: skip
    found = {}
    for c in completions:
        ((_, parts),) = renderer.replies([list(c.token_ids)], [ends[c.request_id]])
        parts = parts if c.text is None else taken_apart(c.text, renderer.layout)
        text = None if c.error else parts.answer or ""
        found[c.request_id] = reader.read(text, c.token_ids, c.top_logprobs, c.error)
    return found


def top_of(meta: str | None) -> list[dict[int, float]] | None:
    """The log-probs that a rollout's `meta` holds, per token."""
    found = json.loads(meta).get("top_logprobs") if meta else None
    return None if found is None else [{int(i): lp for i, lp in top.items()} for top in found]
