"""Section `[engine.openai]`: where a server is and how it is asked; knows no connection."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ratoon.config import Config, operational
from ratoon.errors import EngineError


class OpenAIConfig(Config):
    """Where the server is and how it is asked."""

    base_url: str = operational("http://127.0.0.1:8000/v1", description="up to and with /v1; no user or password in it")
    base_urls: tuple[str, ...] = operational(
        (), description="addresses of several servers that serve the same policies; then base_url is not read"
    )
    base_urls_file: str | None = operational(
        None, description="file with an address a line, read again every 10 s; then neither of the others is read"
    )
    agents: tuple[str, ...] = operational(
        (), description="addresses of `ratoon serve` beside the servers (http://HOST:PORT): told of each new policy"
    )
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
    concurrency: int = operational(64, ge=1, description="replies under way at once at each server; fewer where it is busy")
    timeout_s: float = operational(300.0, gt=0, description="seconds for one answer, counted from sending")
    max_retries: int = operational(5, ge=0, description="how often a request is sent again after a passing failure")
    backoff_s: float = operational(0.5, gt=0, description="first bound of the wait before asking again; doubles each time")
    max_backoff_s: float = operational(60.0, gt=0, description="longest wait before asking again, Retry-After included")

    policy_wait_s: float = operational(
        900.0,
        ge=0,
        description="seconds a run waits, after a training, for a server that serves the new policy; then it stops with exit 3",
    )

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        return plain_url(url)

    @field_validator("base_urls", "agents")
    @classmethod
    def _plain_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(plain_url, urls)))

    def urls(self) -> list[str]:
        """The addresses of the servers, each once. Raises EngineError where the file cannot be read or names none."""
        if self.base_urls_file is None:
            return list(self.base_urls or (self.base_url,))
        try:
            lines = map(str.strip, Path(self.base_urls_file).read_text(encoding="utf-8").split("\n"))
            urls = [plain_url(line) for line in lines if line and not line.startswith("#")]
        except (OSError, ValueError) as error:
            hint = "name a file with an address a line"
            raise EngineError(f"engine.openai.base_urls_file: {error}", hint) from None
        if not urls:
            hint = "write an address a line: http://HOST:8000/v1"
            raise EngineError(f"engine.openai.base_urls_file: {self.base_urls_file} names no server", hint)
        return list(dict.fromkeys(urls))


def plain_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError for what is none or holds a user or password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST/v1 or https://HOST/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user or password; name the variable that holds the key in api_key_env")
    return url.rstrip("/")
