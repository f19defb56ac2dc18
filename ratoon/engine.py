"""What an engine is: requests in, completions out; this file knows no engine and no model library.

Completions come as they finish, in any order. One bad request is one completion with an `error`, never an exception;
an exception from `generate` means that the engine itself failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

from ratoon import ids
from ratoon.errors import ConfigError

FinishReason = Literal["stop", "length", "error"]
LogprobsMode = Literal["processed_logprobs", "raw_logprobs", "none"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every sampling field, explicit: no engine adds a default of its own. `top_k` 0 means all tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    stop_token_ids: tuple[int, ...] = ()
    logprobs_mode: LogprobsMode = "processed_logprobs"
    chat_template_kwargs: str = "{}"

    def __post_init__(self) -> None:
        checks = {
            "temperature": self.temperature >= 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": self.repetition_penalty > 0,
            "max_tokens": self.max_tokens >= 1,
        }
        for name, ok in checks.items():
            if not ok:
                raise ConfigError(f"sampling.{name} = {getattr(self, name)} is impossible", f"mend {name} in [sampling]")

    @property
    def sampling_id(self) -> str:
        return ids.sampling_id(self.row_fields())

    def row_fields(self) -> dict[str, Any]:
        """The fields as a row of table `samplings`, but for its id."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        return row | {"stop_token_ids": list(self.stop_token_ids)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Sampling:
        """The sampling that a row of table `samplings` records."""
        held = {f.name: row[f.name] for f in fields(cls)}
        return cls(**held | {"stop_token_ids": tuple(row["stop_token_ids"])})


@dataclass(frozen=True, slots=True)
class Policy:
    """A model an engine can serve: its id, the folder it lies in, and the round that made it (0 is the base).

    A LoRA policy also names the folder of the model its adapter stands on.
    """

    policy_id: str
    path: str
    iteration: int = 0
    kind: Literal["base", "full", "lora"] = "base"
    base_path: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One rollout to sample. `request_id` is the rollout's id; `task_id` and `role` are labels that real engines ignore.

    `messages` is for endpoints that take no token ids; `prefix_token_ids` are appended to the prompt and are no part of
    the completion; `schema` is a JSON schema for constrained decoding; `top_logprobs` asks for so many likeliest ids each.
    """

    request_id: str
    policy_id: str
    prompt_token_ids: Sequence[int]
    sampling: Sampling
    prefix_token_ids: Sequence[int] | None = None
    schema: str | None = None
    task_id: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    role: str | None = None
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a server counted for one reply, failed attempts included: `cached` are prompt tokens it had at hand.

    `assumed` attempts were told by nobody and stand here with the most they can have cost.
    """

    prompt: int
    sampled: int
    cached: int = 0
    assumed: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.sampled + other.sampled,
            self.cached + other.cached,
            self.assumed + other.assumed,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back: token ids and log-probs as sampled (natural log, one per token), or a typed error.

    `logprobs` is null where the engine has none. `token_ids` holds the end-of-turn id iff `finish_reason` is `stop`.
    `reasoning` is thinking that a server sent apart from `text`; null where it sent none.
    `top_logprobs` has per token the likeliest ids with their log-probs, where they were asked for and the engine has them.
    `loss_mask` is 1 at ids the policy sampled and 0 at ids it was given (an environment's words); null means it sampled all.
    `error` is `CLASS: message`; then `token_ids` is empty and `finish_reason` is `error`. `seconds` is wall time.
    `usage` is what a server counted; null where the tokens themselves tell.
    """

    request_id: str
    token_ids: Sequence[int]
    logprobs: Sequence[float] | None
    finish_reason: FinishReason
    logprob_source: str | None = None
    text: str | None = None
    reasoning: str | None = None
    error: str | None = None
    seconds: float | None = None
    prompt_tokens: int = 0
    top_logprobs: Sequence[Mapping[int, float]] | None = None
    usage: Usage | None = None
    loss_mask: Sequence[int] | None = None


class Engine(Protocol):
    """A context manager that samples; re-entrant from many threads, so that shards keep it full together."""

    name: str

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...

    def use(self, policy: Policy) -> None:
        """Load `policy`'s weights; requests of any other policy then come back as errors."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish. Raises EngineDead when the engine died and its one rebuild failed too."""

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Log-probs of each completion given its prompt, at temperature 1. Raises Unsupported where there are none."""


def failed(
    request: Request, error_class: str, message: str, seconds: float | None = None, usage: Usage | None = None
) -> Completion:
    """The completion of a request that could not be answered."""
    return Completion(
        request_id=request.request_id, token_ids=(), logprobs=None, finish_reason="error", usage=usage,
        error=f"{error_class}: {message}", seconds=seconds, prompt_tokens=len(request.prompt_token_ids),
    )  # fmt: skip
