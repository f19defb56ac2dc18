"""An engine without a model: replies follow a plan and the hash of the request id; for tests, examples, benchmarks, dry runs.

It knows the planted answers and nothing of verifiers. A request of one id always gets the same tokens under the same config
and policy, in any process and any order; only the time it takes may differ.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log
from pathlib import Path
from struct import Struct
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ratoon.config import Config, operational
from ratoon.engine import Completion, FinishReason, Policy, Request, failed
from ratoon.errors import EngineDead, Unsupported
from ratoon.generators.engines import scripted_judge, scripted_proposals
from ratoon.generators.engines.requestlog import RequestLog
from ratoon.generators.engines.scripted_judge import JudgmentsConfig
from ratoon.generators.engines.scripted_proposals import ProposalsConfig
from ratoon.render import Renderer

Share = Annotated[float, Field(ge=0, le=1)]
_STYLES = (
    "The answer is {answer}.", "{a} + {b} = {answer}", "I count {a} first, then {b} more, which makes {answer}.",
    "It is {answer}.",
    "Let me see. Taking {a} from it leaves {b}, so it must be {answer}.", "{answer}", "So the result is {answer}.",
)  # fmt: skip
_LOST = ("I am not sure about that.", "That depends on what is meant.", "Sorry, I cannot say.")
_FILLER = " so"
_LOGPROBS = 4096  # a table of log-probs that replies read from a hashed offset on
_CACHE = 20_000  # replies; each may hold fixed_tokens numbers
_WORDS = Struct("<8Q")


@dataclass(frozen=True, slots=True)
class Plant:
    """What the script is told of a task: the family its pass rate goes by, and the right answer."""

    family: str
    answer: str | None


def planted(tasks: Sequence[Mapping[str, Any]], known: Mapping[str, Plant], changed: float = 0.0) -> dict[str, Plant]:
    """Plants of rows of `tasks` (task_id, family, answer, parent_ids, meta). A task that a model made has no gold: the script
    takes the proposer's own output, else what it knows of the parent, else a number by hash; no verifier is told. Of
    paraphrases the share `changed` has another answer than the parent."""
    found = {row["task_id"]: Plant(row["family"], row["answer"]) for row in tasks}
    for row in tasks:
        meta = json.loads(row["meta"] or "{}")
        if row["answer"] is None and "rollout_id" in meta:
            parent = (row["parent_ids"] or [""])[0] if "operator" in meta else ""
            before = found.get(parent) or known.get(parent)
            told = meta.get("output") or meta.get("label") or (before and before.answer)
            if told and parent and _uniforms(row["task_id"])[1] < changed:
                told = _wrong(told, _uniforms(row["task_id"])[2])
            found[row["task_id"]] = Plant(row["family"], told or str(int(_uniforms(row["task_id"])[0] * 900) + 100))
    return found


class ScriptedConfig(Config):
    """How often the script is right, and how it fails."""

    pass_rate: dict[str, Share] = Field(
        {"*": 0.5},
        description="share of right replies by task family, or by role where a role is named; `*` is any other",
    )
    gain_per_iteration: float = Field(
        0.0, description="added to every pass rate per round of training the policy has behind it"
    )
    max_pass_rate: Share = Field(0.98, description="no gain lifts a pass rate above this")
    truncated: Share = Field(0.0, description="share of replies that run on until they are cut off by length")
    unparsed: Share = Field(0.0, description="share of replies that hold no answer")
    styles: tuple[str, ...] = Field(
        _STYLES,
        min_length=1,
        description="wordings; {answer} is the answer, {a} and {b} are two whole numbers that add up to it",
    )
    confidence: float = Field(1.0, ge=1, description="log-probs of right replies are divided by this: they grow likelier")
    fixed_tokens: int | None = Field(None, ge=2, description="pad every reply that is not cut to exactly this many tokens")
    context_tokens: int = Field(
        100_000, ge=1, description="prompts that leave less than max_tokens of this are refused, as by a real context"
    )
    proposals: ProposalsConfig = Field(ProposalsConfig(), description="what it writes when it is asked for tasks")
    judgments: JudgmentsConfig = Field(JudgmentsConfig(), description="what it says when it is asked to judge")
    errors: Share = operational(0.0, ge=0, le=1, description="share of requests that fail, as a server fails")
    delay_s: float = operational(0.0, ge=0, description="mean seconds a reply takes")
    delay: Literal["constant", "exponential"] = operational("exponential", description="how those seconds are distributed")
    max_running: int = operational(64, ge=1, description="replies under way at once, over all callers; the others queue")
    dies_after: int | None = operational(None, ge=0, description="die after this many requests, and be rebuilt")
    deaths: Literal[1, 2] = operational(
        1, description="1: once rebuilt it lives, and what was in flight is asked again; 2: it dies again at once"
    )


class ScriptedEngine:
    """Plays the planted behaviour; `plants` is read when asked, so tasks may be added while it runs."""

    name = "scripted"

    def __init__(
        self, config: ScriptedConfig, renderer: Renderer, plants: Mapping[str, Plant], request_log: Path | None = None
    ) -> None:
        self._config, self._renderer, self._plants = config, renderer, plants
        self._log = RequestLog(request_log)
        self._policy: Policy | None = None
        self._ids: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._free = [0.0] * config.max_running  # when each slot is free again, on the monotonic clock
        self._asked = itertools.count()
        table = np.random.default_rng(0).exponential(0.4, _LOGPROBS).astype(np.float32)
        self._logprobs: list[float] = (-np.maximum(table, np.float32(1e-4))).tolist()

    def __enter__(self) -> ScriptedEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._log.close()

    def use(self, policy: Policy) -> None:
        """Only its id and its iteration matter here."""
        self._policy = policy

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions in the order their delays end. Raises EngineDead where the config says so."""
        if self._config.delay_s == 0:
            yield from map(self._answer, requests)
            return
        source = iter(requests)
        running: list[tuple[float, int, Completion]] = []
        for number in itertools.count():
            if len(running) < self._config.max_running and (request := next(source, None)) is not None:
                end, seconds = self._schedule(request)
                completion = self._answer(request, seconds)
                heapq.heappush(running, (end, number, completion))
            elif running:
                end, _, completion = heapq.heappop(running)
                time.sleep(max(0.0, end - time.monotonic()))
                yield completion
            else:
                return

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """There is no model to ask."""
        raise Unsupported("the scripted engine has no model to score with", 'set engine.kind = "vllm" or "transformers"')

    def _schedule(self, request: Request) -> tuple[float, float]:
        """When this request's reply ends, given the slots that all callers share, and how long it takes."""
        mean = self._config.delay_s
        seconds = mean if self._config.delay == "constant" else -mean * log(1.0 - _uniforms(request.request_id)[3])
        with self._lock:
            end = max(time.monotonic(), self._free[0]) + seconds
            heapq.heapreplace(self._free, end)
        return end, seconds

    def _answer(self, request: Request, seconds: float = 0.0) -> Completion:
        self._log.sent(request.request_id)
        if self._config.dies_after is not None and next(self._asked) == self._config.dies_after:
            self._die(request)
        draws = _uniforms(request.request_id)
        if refusal := self._refusal(request, draws[2]):
            return failed(request, *refusal, seconds)
        ids, reason = self._reply(request, draws)
        logprobs = self._logprobs_of(len(ids), draws[4]) if request.sampling.logprobs_mode != "none" else None
        if (
            logprobs is not None
            and self._config.confidence != 1
            and self._right(self._plants.get(request.task_id or ""), draws)
        ):
            logprobs = [value / self._config.confidence for value in logprobs]
        return Completion(
            request_id=request.request_id, token_ids=ids, logprobs=logprobs, finish_reason=reason, seconds=seconds,
            logprob_source=None if logprobs is None else self.name, prompt_tokens=_prompt_tokens(request),
            top_logprobs=self._top(request, draws),
        )  # fmt: skip

    def _die(self, request: Request) -> None:
        """The first death costs a second asking, the second one the caller's shard; the next call finds it rebuilt."""
        if self._config.deaths == 2:
            raise EngineDead(
                f"the scripted engine died after {self._config.dies_after} requests, and again when it was rebuilt",
                "unset engine.scripted.dies_after",
            )
        self._log.sent(request.request_id)

    def _refusal(self, request: Request, draw: float) -> tuple[str, str] | None:
        """Error class and message of a request that gets no reply."""
        if self._policy is None or request.policy_id != self._policy.policy_id:
            return "WrongPolicy", f"asked for {request.policy_id}, in use is {self._policy and self._policy.policy_id}"
        n, new = _prompt_tokens(request), request.sampling.max_tokens
        if n + new > self._config.context_tokens:
            return "PromptTooLong", f"{n} prompt tokens and {new} new ones exceed the context of {self._config.context_tokens}"
        return ("Planted", "a planted error") if draw < self._config.errors else None

    def _reply(self, request: Request, draws: Sequence[float]) -> tuple[list[int], FinishReason]:
        """Token ids with the end-of-turn id, or without it when the reply was cut at `max_tokens`."""
        kind, text = self._said(request, draws)
        limit = request.sampling.max_tokens
        ids = self._encoded(text)
        if kind == "truncated":
            return (ids * (limit // len(ids) + 1))[:limit], "length"
        if len(ids) >= limit:
            return ids[:limit], "length"
        end = (request.sampling.stop_token_ids or self._renderer.end_of_turn_ids)[0]
        return [*ids, end], "stop"

    def _said(self, request: Request, draws: Sequence[float]) -> tuple[str, str]:
        if request.role in scripted_proposals.ROLES:
            return "whole", scripted_proposals.write(self._config.proposals, request)
        if request.role == scripted_judge.ROLE:
            return "whole", self._judgment(request, draws)[0]
        if request.role == scripted_judge.APPEAL:
            plant = self._plants.get(request.task_id or "")
            prompt = str(request.messages[-1]["content"]) if request.messages else ""
            return "whole", scripted_judge.on_appeal(self._config.judgments, prompt, plant.answer if plant else None, draws)
        return self._text(request.task_id, request.role, draws)

    def _judgment(self, request: Request, draws: Sequence[float]) -> tuple[str, dict[str, float]]:
        plant = self._plants.get(request.task_id or "")
        prompt = str(request.messages[-1]["content"]) if request.messages else ""
        return scripted_judge.write(self._config.judgments, prompt, plant.answer if plant else None, draws)

    def _top(self, request: Request, draws: Sequence[float]) -> list[dict[int, float]] | None:
        """The likeliest first tokens of a judgment; nothing else has any."""
        if not request.top_logprobs or request.role != scripted_judge.ROLE:
            return None
        return [{self._encoded(text)[0]: lp for text, lp in self._judgment(request, draws)[1].items()}]

    def _text(self, task_id: str | None, role: str | None, draws: Sequence[float]) -> tuple[str, str]:
        """One draw decides: the first `pass rate` of it is right, then come the truncated and the unparsed share."""
        plant = self._plants.get(task_id or "")
        family = role if role in self._config.pass_rate else plant.family if plant else ""
        right = self._pass_rate(family) if plant and plant.answer is not None else 0.0
        truncated = right + self._config.truncated
        if plant is None or plant.answer is None or truncated <= draws[0] < truncated + self._config.unparsed:
            return "unparsed", _LOST[int(draws[1] * len(_LOST))]
        answer = plant.answer if draws[0] < right else _wrong(plant.answer, draws[5])
        text = _worded(self._config.styles, answer, draws[1], draws[6])
        return ("truncated", f"{text}\n") if right <= draws[0] < truncated else ("whole", text)

    def _right(self, plant: Plant | None, draws: Sequence[float]) -> bool:
        return plant is not None and plant.answer is not None and draws[0] < self._pass_rate(plant.family)

    def _pass_rate(self, family: str) -> float:
        rates, gain = self._config.pass_rate, self._config.gain_per_iteration
        start = rates.get(family, rates.get("*", 0.0))
        lifted = start + gain * (self._policy.iteration if self._policy else 0)
        return max(0.0, min(lifted, max(start, self._config.max_pass_rate)))

    def _encoded(self, text: str) -> list[int]:
        """The ids of a reply without its end, padded with a filler word to `fixed_tokens`; kept, since replies repeat."""
        ids = self._ids.get(text)
        if ids is not None:
            return ids
        ids = self._renderer.encode(text)
        if self._config.fixed_tokens is not None:
            filler = itertools.cycle(self._renderer.encode(_FILLER))
            ids = [*ids, *itertools.islice(filler, max(0, self._config.fixed_tokens - 1 - len(ids)))][
                : self._config.fixed_tokens - 1
            ]
        if len(self._ids) < _CACHE:
            self._ids[text] = ids
        return ids

    def _logprobs_of(self, n: int, draw: float) -> list[float]:
        start = int(draw * _LOGPROBS)
        if start + n <= _LOGPROBS:
            return self._logprobs[start : start + n]
        return list(itertools.islice(itertools.cycle(self._logprobs), start, start + n))


def _prompt_tokens(request: Request) -> int:
    return len(request.prompt_token_ids) + len(request.prefix_token_ids or ())


def _uniforms(request_id: str) -> list[float]:
    """Eight numbers in [0, 1), by the id alone."""
    return [(word >> 11) * 2.0**-53 for word in _WORDS.unpack(blake2b(request_id.encode(), digest_size=64).digest())]


def _wrong(answer: str, draw: float) -> str:
    """Near the right answer and never equal to it; small misses are likelier, so that wrong votes gather too."""
    try:
        step = 1 + int(9 * draw * draw)
        return str(int(answer) + (step if int(draw * 1000) % 2 else -step))
    except ValueError:
        return f"{answer}{'xyz'[int(draw * 3)]}"


def _worded(styles: Sequence[str], answer: str, draw: float, split: float) -> str:
    """The answer in one of the styles; `{a}` and `{b}` need a whole number, else the style is read without numbers."""
    style = styles[int(draw * len(styles))]
    if "{a}" not in style and "{b}" not in style:
        return style.replace("{answer}", answer)
    try:
        a = int(split * 8)
        return style.replace("{a}", str(a)).replace("{b}", str(int(answer) - a)).replace("{answer}", answer)
    except ValueError:
        return f"It must be {answer}."
