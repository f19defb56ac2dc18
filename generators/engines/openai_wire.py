"""What the OpenAI wire carries: request bodies out, completions in; pure, it knows no connection and no retry.

Two dialects. `tokens` is `/v1/completions` as vLLM speaks it: token ids both ways (`prompt: [ids]`, `return_token_ids`),
`logprobs: 0` for those of the sampled tokens. `chat` is `/v1/chat/completions` with messages: text and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from ratoon.engine import Completion, Request, Sampling

PATHS = {"tokens": "/completions", "chat": "/chat/completions"}
_MAX_ID = 2**31


class Refused(Exception):
    """An answer or request that makes no completion: `error_class`, a message, and whether asking again may help."""

    def __init__(self, error_class: str, message: str, again: bool = False, after: float | None = None) -> None:
        super().__init__(message)
        self.error_class, self.message, self.again, self.after = error_class, message, again, after


def tokens_body(request: Request, model: str) -> dict[str, Any]:
    """The body for `/v1/completions`: every sampling field, so that no default of the server's is left to act.

    `ignore_eos` leaves the stopping to the request's own ids alone, as in the in-process engine.
    """
    body = _sampling(request.sampling) | _vendor(request.sampling) | {
        "model": model,
        "prompt": [*map(int, request.prompt_token_ids), *map(int, request.prefix_token_ids or ())],
        "n": 1,
        "stream": False,
        "echo": False,
        "ignore_eos": True,
        "return_token_ids": True,
        "logprobs": None if request.sampling.logprobs_mode == "none" else 0,
    }  # fmt: skip
    return body | ({"structured_outputs": {"json": json.loads(request.schema)}} if request.schema else {})


def chat_body(request: Request, model: str, vendor_fields: bool) -> dict[str, Any]:
    """The body for `/v1/chat/completions`. Raises Refused for what only token ids can carry."""
    if request.messages is None:
        raise Refused("BadRequest", "this endpoint takes messages and the request has none")
    if request.prefix_token_ids:
        raise Refused("Unsupported", "prefix_token_ids need engine.openai.mode = 'tokens'")
    body = _sampling(request.sampling) | {"model": model, "messages": list(request.messages), "n": 1, "stream": False}
    if vendor_fields:
        body |= _vendor(request.sampling) | {"chat_template_kwargs": json.loads(request.sampling.chat_template_kwargs)}
    if request.schema:
        described = {"name": "reply", "schema": json.loads(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": described}
    return body


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The fields every server knows."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "max_tokens": sampling.max_tokens,
    }


def _vendor(sampling: Sampling) -> dict[str, Any]:
    """The fields vLLM and its kin know besides."""
    return {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": list(sampling.stop_token_ids),
    }


def read_tokens(answer: Any, request: Request, source: str, seconds: float) -> Completion:
    """The completion in an answer of `/v1/completions`. Raises Refused (Garbage) when anything is missing or does not fit."""
    choice = _choice(answer)
    ids = choice.get("token_ids")
    if not isinstance(ids, list) or not ids or not all(type(i) is int and 0 <= i < _MAX_ID for i in ids):
        raise Refused("Garbage", "no token_ids in the answer: the server is no vLLM, or set engine.openai.mode = 'chat'")
    if len(ids) > request.sampling.max_tokens:
        raise Refused("Garbage", f"{len(ids)} token ids where {request.sampling.max_tokens} were asked for")
    logprobs = _logprobs(choice, len(ids)) if request.sampling.logprobs_mode != "none" else None
    n_prompt = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
    return Completion(
        request_id=request.request_id, token_ids=ids, logprobs=logprobs, finish_reason=_finish(choice), seconds=seconds,
        logprob_source=None if logprobs is None else source, prompt_tokens=n_prompt,
    )  # fmt: skip


def read_chat(answer: Any, request: Request, seconds: float) -> Completion:
    """The completion in an answer of `/v1/chat/completions`: text, no token ids and no log-probs."""
    choice = _choice(answer)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise Refused("Garbage", "no message content in the answer")
    usage = answer.get("usage")
    prompt_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return Completion(
        request_id=request.request_id, token_ids=(), logprobs=None, finish_reason=_finish(choice), text=text, seconds=seconds,
        prompt_tokens=prompt_tokens if isinstance(prompt_tokens, int) else len(request.prompt_token_ids),
    )  # fmt: skip


def _choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise Refused("Garbage", "the answer does not hold exactly one choice")
    return choices[0]


def _finish(choice: dict[str, Any]) -> Any:
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise Refused("Garbage", f"finish_reason {str(reason)[:40]!r} is neither 'stop' nor 'length'")
    return reason


def _logprobs(choice: dict[str, Any], n: int) -> list[float]:
    """One per token. A server that was asked and sends none, or too few, cannot be trusted with the rest."""
    holder = choice.get("logprobs")
    found = holder.get("token_logprobs") if isinstance(holder, dict) else None
    if not isinstance(found, list) or not all(type(p) in (int, float) and -1e6 < p < 1e-3 for p in found):
        raise Refused("Garbage", "no token_logprobs in the answer: set sampling.logprobs_mode = 'none' if the server has none")
    if len(found) != n:
        raise Refused("Garbage", f"{n} token ids but {len(found)} log-probs")
    return [float(p) for p in found]
