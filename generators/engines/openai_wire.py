"""What the OpenAI wire carries: request bodies out, completions in; pure, it knows no connection and no retry.

Two dialects. `tokens` is `/v1/completions` as vLLM speaks it: token ids both ways (`prompt: [ids]`, `return_token_ids`),
`logprobs: 0` for those of the sampled tokens. `chat` is `/v1/chat/completions` with messages: text and nothing else. One
request asks for `n` samples of a prompt; an answer may hold fewer, and then the missing ones are asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from ratoon.engine import Completion, FinishReason, Request, Sampling, Usage
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.messages import for_template

PATHS = {"tokens": "/completions", "chat": "/chat/completions"}
_MAX_ID = 2**31
_MAX_COUNT = 2**53
# What servers write where OpenAI writes `stop` and `length`.
_FINISHED: dict[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop", "completed": "stop",
    "length": "length", "max_tokens": "length", "max_length": "length", "model_length": "length",
}  # fmt: skip
_OTHERWISE = {"content_filter": "ContentFilter", "tool_calls": "ToolCalls", "function_call": "ToolCalls"}
_NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}  # values that are as good as unsent
_AGAIN = ("error", "abort")  # the server's own failure, told as a finish
_THOUGHTS = ("reasoning_content", "reasoning")  # two names that servers have for it


class Refused(Exception):
    """An answer or request that makes no completion: `error_class`, a message, and whether asking again may help.

    `after` is the wait that a server asked for, in seconds; `paid` how many attempts may have been paid for in vain;
    `status` the HTTP status, where there was one.
    """

    def __init__(
        self, error_class: str, message: str, again: bool = False, after: float | None = None, paid: int = 0,
        status: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.error_class, self.message, self.again = error_class, message, again
        self.after, self.paid, self.status = after, paid, status

    @property
    def busy(self) -> bool:
        """Whether the server has too much to do."""
        return self.status in (429, 503) or self.error_class == "Timeout"

    @property
    def broken(self) -> bool:
        """Whether the server itself failed, whatever it was asked."""
        return self.error_class in ("ConnectionLost", "Timeout") or (self.status or 0) >= 500


def body(config: OpenAIConfig, request: Request, model: str, n: int) -> bytes:
    """The body of a request in the config's mode. Raises Refused for what cannot be written or carried."""
    try:
        if config.mode == "tokens":
            fields = tokens_body(request, model, n)
        else:
            fields = chat_body(request, model, n, config.sent_fields(), config.max_tokens_field)
        if config.thinking_budget is not None:
            fields[config.thinking_budget_field] = config.thinking_budget
        return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise Refused("BadRequest", f"the request cannot be written as JSON: {error}") from None


def tokens_body(request: Request, model: str, n: int) -> dict[str, Any]:
    """The body for `/v1/completions`: every sampling field, so that no default of the server's is left to act.

    `ignore_eos` leaves the stopping to the request's own ids alone, as in the in-process engine.
    """
    body = _sampling(request.sampling, "max_tokens") | _vendor(request.sampling) | {
        "model": model,
        "prompt": [*map(int, request.prompt_token_ids), *map(int, request.prefix_token_ids or ())],
        "n": n,
        "stream": False,
        "echo": False,
        "ignore_eos": True,
        "return_token_ids": True,
        "logprobs": None if request.sampling.logprobs_mode == "none" else 0,
    }  # fmt: skip
    return body | ({"structured_outputs": {"json": json.loads(request.schema)}} if request.schema else {})


def chat_body(
    request: Request, model: str, n: int, vendor_fields: Collection[str], max_tokens_field: str = "max_tokens"
) -> dict[str, Any]:
    """The body for `/v1/chat/completions`. Raises Refused for what only token ids can carry."""
    if request.messages is None:
        raise Refused("BadRequest", "this endpoint takes messages and the request has none")
    if request.prefix_token_ids:
        raise Refused("Unsupported", "prefix_token_ids need engine.openai.mode = 'tokens'")
    body = _sampling(request.sampling, max_tokens_field)
    body |= {"model": model, "messages": for_template(request.messages), "n": n, "stream": False}
    vendor = _vendor(request.sampling) | {"chat_template_kwargs": json.loads(request.sampling.chat_template_kwargs)}
    for name, neutral in _NEUTRAL.items():
        if name not in vendor_fields and vendor[name] != neutral:
            message = (
                f"sampling.{name} = {vendor[name]} cannot be sent: engine.openai.vendor_fields or the preset leaves it out"
            )
            raise Refused("Unsupported", message)
    body |= {name: value for name, value in vendor.items() if name in vendor_fields}
    if request.schema:
        described = {"name": "reply", "schema": json.loads(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": described}
    return body


def most_bytes(request: Request, n: int) -> int:
    """The longest answer that `n` samples may take: far above what any server writes per token, and yet a bound."""
    a_token = 512 * (1 + request.top_logprobs)
    prompt = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
    return (1 << 20) + n * request.sampling.max_tokens * a_token + 64 * prompt


def _sampling(sampling: Sampling, max_tokens_field: str) -> dict[str, Any]:
    """The fields every server knows."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        max_tokens_field: sampling.max_tokens,
    }


def _vendor(sampling: Sampling) -> dict[str, Any]:
    """The fields vLLM and its kin know besides."""
    return {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": list(sampling.stop_token_ids),
    }


def choices(answer: Any, n: int) -> tuple[list[dict[str, Any]], Usage | None]:
    """The choices of an answer, at least one and at most `n`, and what the server counted for them together.

    A choice that the server itself ended with an error is left out, as one that is missing. Raises Refused.
    """
    listed = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(listed, list) or not all(isinstance(choice, dict) for choice in listed):
        raise Refused("Garbage", "no list of choices in the answer", again=True, paid=1)
    if len(listed) > n:
        raise Refused("Garbage", f"{len(listed)} choices where {n} were asked for", paid=1)
    whole = [choice for choice in listed if choice.get("finish_reason") not in _AGAIN]
    if listed and not whole:
        raise Refused("ServerError", f"the server ended the reply with {listed[0]['finish_reason']!r}", again=True, paid=1)
    if not whole:
        raise Refused("Garbage", "an answer without a choice", again=True, paid=1)
    return whole, usage(answer)


def error_under_200(answer: Any) -> tuple[int, str] | None:
    """The status and text of an error that came under HTTP 200; null where the answer is none.

    A status the error does not tell is the server's fault (500), so that the request is sent again.
    """
    error = answer.get("error") if isinstance(answer, dict) else None
    if not error or answer.get("choices"):
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else 500
    return status, json.dumps(answer)


def usage(answer: Any) -> Usage | None:
    """What the server counted for all choices of an answer together; null where it counted nothing that can be."""
    told = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(told, dict):
        return None
    prompt, sampled = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    if prompt is None or sampled is None:
        return None
    details = told.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(prompt, sampled, min(cached or 0, prompt))


def _count(number: Any) -> int | None:
    return number if type(number) is int and 0 <= number < _MAX_COUNT else None


def longest(answer: Any, n: int) -> int | None:
    """Tokens of the longest of an answer's `n` samples, as far as it tells: by its ids, else the mean of what it counted."""
    lengths = [len(c["token_ids"]) for c in answer["choices"] if isinstance(c.get("token_ids"), list)]
    counted = usage(answer)
    return max(lengths, default=0) or (round(counted.sampled / n) if counted else None) or None


def read_tokens(
    choice: dict[str, Any], request: Request, source: str, seconds: float, vocabulary: int | None = None
) -> Completion:
    """The completion in a choice of `/v1/completions`. Raises Refused (Garbage) when anything is missing or does not fit."""
    ids, most = choice.get("token_ids"), vocabulary or _MAX_ID
    if not isinstance(ids, list) or not ids or not all(type(i) is int and 0 <= i < _MAX_ID for i in ids):
        raise Refused("Garbage", "no token_ids in the answer: the server is no vLLM, or set engine.openai.mode = 'chat'")
    if max(ids) >= most:
        raise Refused("Garbage", f"token id {max(ids)} beyond the {most} of the model's vocabulary: another model answers")
    if len(ids) > request.sampling.max_tokens:
        raise Refused("Garbage", f"{len(ids)} token ids where {request.sampling.max_tokens} were asked for")
    finish = _finish(choice)
    logprobs = _logprobs(choice, len(ids)) if request.sampling.logprobs_mode != "none" else None
    n_prompt = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
    return Completion(
        request_id=request.request_id, token_ids=ids, logprobs=logprobs, finish_reason=finish, seconds=seconds,
        logprob_source=None if logprobs is None else source, prompt_tokens=n_prompt,
    )  # fmt: skip


def read_chat(choice: dict[str, Any], request: Request, seconds: float) -> Completion:
    """The completion in a choice of `/v1/chat/completions`: text, no token ids and no log-probs.

    Content of null is an empty reply, content in parts is joined; a refusal is an error of its own class.
    Thinking that the server took out of the text is `reasoning`.
    """
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Refused("Garbage", "no message in the answer")
    text = _content(message.get("content"))
    if not text and isinstance(message.get("refusal"), str) and message["refusal"]:
        raise Refused("Refusal", message["refusal"][:200])
    finish = _finish(choice)
    thoughts = [message[name] for name in _THOUGHTS if isinstance(message.get(name), str) and message[name]]
    if not text and message.get("tool_calls"):
        raise Refused("ToolCalls", "the reply is a tool call and no tool was offered")
    return Completion(
        request_id=request.request_id, token_ids=(), logprobs=None, finish_reason=finish, text=text, seconds=seconds,
        reasoning=thoughts[0] if thoughts else None, prompt_tokens=len(request.prompt_token_ids),
    )  # fmt: skip


def _content(content: Any) -> str:
    """The text of a message: a string, null, or parts of which those of type text count."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part.get("text") or "") for part in content if part.get("type", "text") == "text")
    raise Refused("Garbage", "the message's content is neither text nor parts")


def shares(told: Usage | None, completions: Sequence[Completion], requests: Sequence[Request]) -> list[Usage | None]:
    """What each of an answer's completions counts of the whole: the prompt once, with the first; the rest by its ids.

    Where there are no ids the sampled tokens are spread evenly. Null where the server counted nothing and the ids tell;
    without ids a reply nobody counted stands for the most it can have cost.
    """
    if told is None:
        return [
            None if completion.token_ids or completion.text is None else most(request)
            for completion, request in zip(completions, requests, strict=True)
        ]
    each, rest = divmod(told.sampled, max(1, len(completions)))
    counted: list[Usage | None] = []
    for place, completion in enumerate(completions):
        sampled = len(completion.token_ids) or each + (place < rest)
        first = place == 0
        counted.append(Usage(told.prompt if first else 0, sampled, told.cached if first else 0))
    return counted


def most(request: Request, attempts: int = 1) -> Usage:
    """The most that `attempts` of one request can have cost, where nobody told."""
    prompt = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
    return Usage(prompt * attempts, request.sampling.max_tokens * attempts, 0, attempts)


def _finish(choice: dict[str, Any]) -> FinishReason:
    reason = str(choice.get("finish_reason"))[:40]
    if reason in _FINISHED:
        return _FINISHED[reason]
    if reason in _OTHERWISE:
        raise Refused(_OTHERWISE[reason], f"the server ended the reply with {reason!r}")
    raise Refused("Garbage", f"finish_reason {reason!r} is none that is known")


def _logprobs(choice: dict[str, Any], n: int) -> list[float]:
    """One per token. A server that was asked and sends none, or too few, cannot be trusted with the rest."""
    holder = choice.get("logprobs")
    logprobs = holder.get("token_logprobs") if isinstance(holder, dict) else None
    if not isinstance(logprobs, list) or not all(type(p) in (int, float) and -1e6 < p < 1e-3 for p in logprobs):
        raise Refused("Garbage", "no token_logprobs in the answer: set sampling.logprobs_mode = 'none' if the server has none")
    if len(logprobs) != n:
        raise Refused("Garbage", f"{n} token ids but {len(logprobs)} log-probs")
    return [float(p) for p in logprobs]
