"""Section `[engine.openai]`: where a server is and how it is asked; knows no connection."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ratoon.config import Config, operational


class OpenAIConfig(Config):
    """Where the server is and how it is asked."""

    base_url: str = operational("http://127.0.0.1:8000/v1", description="up to and with /v1; no user or password in it")
    api_key_env: str | None = operational(None, description="environment variable that holds the key; none is sent without it")
    model: str | None = Field(None, description="the server's name of the base model; the folder or policy_id otherwise")
    mode: Literal["tokens", "chat"] = Field(
        "tokens", description="tokens: token ids both ways (vLLM); chat: messages, no log-probs"
    )
    served_logprobs: Literal["processed_logprobs", "raw_logprobs"] = Field(
        "processed_logprobs",
        description="what the server was started with as --logprobs-mode; it cannot be asked",
    )
    vendor_fields: bool = Field(
        True,
        description="chat: send top_k, min_p, repetition_penalty, stop_token_ids and template arguments",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = operational(
        "max_tokens",
        description="chat: the name under which the server takes the most tokens of a reply",
    )
    samples_per_request: int = operational(
        8,
        ge=1,
        description="samples of one prompt that one request asks for as `n`; 1 where a server refuses more",
    )
    concurrency: int = operational(64, ge=1, description="replies under way at once, over all callers")
    timeout_s: float = operational(300.0, gt=0, description="seconds for one answer, counted from sending")
    max_retries: int = operational(5, ge=0, description="how often a request is sent again after a passing failure")
    backoff_s: float = operational(0.5, gt=0, description="first bound of the wait before asking again; doubles each time")
    max_backoff_s: float = operational(60.0, gt=0, description="longest wait before asking again, Retry-After included")

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://HOST/v1 or https://HOST/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must hold no user or password; name the variable that holds the key in api_key_env")
        return url.rstrip("/")
