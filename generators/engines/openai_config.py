"""Section `[engine.openai]`: where a server is and how it is asked; knows no connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ratoon.config import Config, operational
from ratoon.errors import EngineError

VendorField = Literal["top_k", "min_p", "repetition_penalty", "stop_token_ids", "chat_template_kwargs"]
VENDOR_FIELDS: tuple[VendorField, ...] = ("top_k", "min_p", "repetition_penalty", "stop_token_ids", "chat_template_kwargs")
_OF_THREE: tuple[VendorField, ...] = ("top_k", "min_p", "repetition_penalty")
_CHAT = {"mode": "chat"}
# What each server documents, where it differs from the defaults; a field that the recipe sets itself wins. Only `vllm` is run
# against its server by our tests, the others follow their documentation as of 2026-12-01.
PRESETS: dict[str, dict[str, Any]] = {
    "vllm": {},
    "sglang": _CHAT | {"base_url": "http://127.0.0.1:30000/v1"},
    "llama.cpp": _CHAT
    | {
        "base_url": "http://127.0.0.1:8080/v1",
        "vendor_fields": ("top_k", "min_p", "chat_template_kwargs"),  # its repetition penalty has another name
        "samples_per_request": 1,
    },
    "ollama": _CHAT | {"base_url": "http://127.0.0.1:11434/v1", "vendor_fields": (), "samples_per_request": 1},
    "openai": _CHAT
    | {
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "vendor_fields": (),
        "max_tokens_field": "max_completion_tokens",
    },
    "openrouter": _CHAT
    | {
        "base_url": "https://openrouter.ai/api/v1",
        "api_key_env": "OPENROUTER_API_KEY",
        "vendor_fields": _OF_THREE,
        "samples_per_request": 1,
    },
    "together": _CHAT
    | {"base_url": "https://api.together.xyz/v1", "api_key_env": "TOGETHER_API_KEY", "vendor_fields": _OF_THREE},
    "litellm": _CHAT | {"base_url": "http://127.0.0.1:4000/v1", "vendor_fields": ()},
}
Preset = Literal["vllm", "sglang", "llama.cpp", "ollama", "openai", "openrouter", "together", "litellm"]


class OpenAIConfig(Config):
    """Where the server is and how it is asked."""

    preset: Preset | None = operational(
        None, description="whose server it is: sets the address, the mode and what it takes, as far as the recipe does not"
    )

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
    vendor_fields: bool | tuple[VendorField, ...] = Field(
        True,
        description="chat: which of top_k, min_p, repetition_penalty, stop_token_ids and chat_template_kwargs are sent; "
        "true: all, false: none. A setting of [sampling] that cannot be sent fails the request",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = operational(
        "max_tokens",
        description="chat: the name under which the server takes the most tokens of a reply",
    )
    thinking_budget: int | None = Field(
        None,
        ge=0,
        description="most tokens of thinking, after which the server closes it; null sends none. `vllm serve` needs "
        "--reasoning-parser for it",
    )
    thinking_budget_field: str = Field(
        "thinking_token_budget",
        pattern=r"^[A-Za-z_]\w*$",
        description="the name under which the server takes `thinking_budget`; a server without one ignores or refuses it",
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

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """What the preset says, under what the recipe says itself."""
        if not isinstance(given, dict):
            return given
        if "base_urls" in given and not given["base_urls"] and "base_url" not in given:  # a run keeps both
            raise ValueError("base_urls names no server: give an address, or leave it out")
        known = PRESETS.get(given.get("preset") or "", {})
        if known.get("mode") == "chat" and given.get("mode") == "tokens":
            raise ValueError(f"preset {given['preset']} takes no token ids: leave mode out, or the preset")
        return known | given

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        return plain_url(url)

    @field_validator("base_urls", "agents")
    @classmethod
    def _plain_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(plain_url, urls)))

    def sent_fields(self) -> tuple[VendorField, ...]:
        """The vendor fields that a chat request carries."""
        if isinstance(self.vendor_fields, bool):
            return VENDOR_FIELDS if self.vendor_fields else ()
        return self.vendor_fields

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
    """The address without a slash at its end. Raises ValueError for what is none or holds a user, a password or a query."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST/v1 or https://HOST/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user or password; name the variable that holds the key in api_key_env")
    if parts.query or parts.fragment:
        raise ValueError("must hold no query; a key belongs into the variable that api_key_env names")
    return url.rstrip("/")
