"""OpenAI-compatible servers, `vllm serve` first of all; it knows the wire by `openai_wire` and no model library.

One thread with one event loop serves every caller, so that all shards together keep `concurrency` requests under way.
A request's time-out counts from when it is sent, not from when it was queued. Time-outs, lost connections, 429 and 5xx are
asked again after a wait drawn from [0, base * 2**attempt] (full jitter), never sooner than `Retry-After` says; whatever else
goes wrong is one failed completion. No seed is sent with a request: it kills vLLM's CPU engine, and samples are recorded,
not reproduced.

The served name of a policy is its folder (what `vllm serve FOLDER` calls it) or its policy_id; `model` is the name of the
base (iteration 0) only, so that a trained policy is never mistaken for the model it came from.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ratoon.config import Config, operational
from ratoon.engine import Completion, Policy, Request, failed
from ratoon.errors import EngineError, MissingExtra, Unsupported
from ratoon.generators.engines import openai_wire as wire
from ratoon.generators.engines.openai_wire import Refused
from ratoon.generators.engines.requestlog import RequestLog

_QUOTED = 200  # characters of a server's own message that are passed on
_MODELS_S = 10.0  # a server that is up lists its models at once
_LONG = ("context length", "context_length_exceeded")


class OpenAIConfig(Config):
    """Where the server is and how it is asked."""

    base_url: str = operational("http://127.0.0.1:8000/v1", description="up to and with /v1; no user or password in it")
    api_key_env: str | None = operational(None, description="environment variable that holds the key; none is sent without it")
    model: str | None = Field(None, description="the server's name of the base model; the folder or policy_id otherwise")
    mode: Literal["tokens", "chat"] = Field(
        "tokens", description="tokens: token ids both ways (vLLM); chat: messages, no log-probs"
    )
    served_logprobs: Literal["processed_logprobs", "raw_logprobs"] = Field(
        "processed_logprobs", description="what the server was started with as --logprobs-mode; it cannot be asked"
    )
    vendor_fields: bool = Field(
        True, description="chat: send top_k, min_p, repetition_penalty, stop_token_ids and template arguments"
    )
    concurrency: int = operational(64, ge=1, description="requests under way at once, over all callers")
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


class OpenAIEngine:
    """Asks one endpoint from a background event loop; `generate` may run in many threads at once."""

    name = "openai"

    def __init__(self, config: OpenAIConfig, request_log: Path | None = None) -> None:
        self._config = config
        self._key = _api_key(config.api_key_env)
        self._log = RequestLog(request_log)
        self._served: tuple[Policy, str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = threading.Lock()  # nothing may be handed to a loop that is about to stop
        self._client: Any = None

    def __enter__(self) -> OpenAIEngine:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        self._slots = asyncio.Semaphore(self._config.concurrency)
        self._client = _open_client(self._config, self._key)
        return self

    def __exit__(self, *exc: object) -> None:
        with self._opening:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
        self._log.close()

    def use(self, policy: Policy) -> None:
        """Find the name the server has for `policy`. Raises EngineError when it serves no such model or does not answer."""
        listed = self._submit(self._models()).result()
        names = [policy.path, policy.policy_id, *([self._config.model] if self._config.model and policy.iteration == 0 else [])]
        name = next((name for name in reversed(names) if name in listed), None)
        if name is None:
            raise EngineError(
                f"{self._config.base_url} serves {', '.join(listed) or 'no model'}, not {policy.policy_id} ({policy.path})",
                f"start the server with --served-model-name {policy.policy_id}"
                + ("" if policy.iteration else ", or set engine.openai.model"),
            )
        self._served = (policy, name)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; `concurrency` of this caller's requests are handed over at a time."""
        done: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
        source, running = iter(requests), set[Future[Completion]]()
        try:
            while True:
                while len(running) < self._config.concurrency and (request := next(source, None)) is not None:
                    future = self._submit(self._answer(request))
                    running.add(future)
                    future.add_done_callback(done.put)
                if not running:
                    return
                future = done.get()
                running.discard(future)
                yield _result(future)
        finally:
            for future in running:
                future.cancel()

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Servers echo log-probs each in their own way; the trainer's kernels do it alike everywhere."""
        raise Unsupported("the openai engine does not score given text", 'set engine.kind = "vllm" or "transformers"')

    def _submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        with self._opening:
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise EngineError("the openai engine is not open", "use it in a `with` block")

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()

    async def _models(self) -> list[str]:
        try:
            answer = await self._ask("GET", "/models", None, min(self._config.timeout_s, _MODELS_S))
            return [str(model["id"]) for model in answer["data"]]
        except (Refused, KeyError, TypeError) as error:
            said = f"{error.error_class}: {error.message}" if isinstance(error, Refused) else "no list of models"
            hint = "check engine.openai.base_url and api_key_env, and that the server runs"
            raise EngineError(f"{self._config.base_url}/models: {said}", hint) from None

    async def _answer(self, request: Request) -> Completion:
        """One request from its place in the queue to its completion; whatever is wrong with it is in the completion."""
        started: float | None = None
        try:
            body = self._body(request)
            async with self._slots:
                self._log.sent(request.request_id)
                started = time.monotonic()
                answer = await self._ask("POST", wire.PATHS[self._config.mode], body, self._config.timeout_s)
                seconds = time.monotonic() - started
            if self._config.mode == "chat":
                return wire.read_chat(answer, request, seconds)
            return wire.read_tokens(answer, request, f"{self.name}:{self._config.served_logprobs}", seconds)
        except Refused as error:
            return failed(request, error.error_class, error.message, None if started is None else time.monotonic() - started)

    def _body(self, request: Request) -> bytes:
        if self._served is None or request.policy_id != self._served[0].policy_id:
            in_use = self._served and self._served[0].policy_id
            raise Refused("WrongPolicy", f"asked for {request.policy_id}, in use is {in_use}")
        model, wanted = self._served[1], request.sampling.logprobs_mode
        if self._config.mode == "tokens" and wanted not in ("none", self._config.served_logprobs):
            raise Refused("Unsupported", f"asked for {wanted}, engine.openai.served_logprobs is {self._config.served_logprobs}")
        try:
            tokens = self._config.mode == "tokens"
            body = wire.tokens_body(request, model) if tokens else wire.chat_body(request, model, self._config.vendor_fields)
            return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        except ValueError as error:
            raise Refused("BadRequest", f"the request cannot be written as JSON: {error}") from None

    async def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Any:
        """The JSON of a 200, after as many retries as it takes and the config allows. Raises Refused."""
        for attempt in range(self._config.max_retries + 1):
            try:
                return await self._send(method, path, body, timeout_s)
            except Refused as error:
                if not error.again or attempt == self._config.max_retries:
                    raise
                await asyncio.sleep(self._wait(attempt, error.after))
        raise AssertionError("unreachable")

    def _wait(self, attempt: int, after: float | None) -> float:
        """Full jitter; what the server asked for is waited for first, up to the longest wait."""
        bound = min(self._config.max_backoff_s, self._config.backoff_s * 2**attempt)
        return min(self._config.max_backoff_s, after or 0.0) + random.uniform(0, bound)

    async def _send(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Any:
        import httpx

        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.request(method, self._config.base_url + path, content=body)
        except (TimeoutError, httpx.TimeoutException):
            raise Refused("Timeout", f"no answer within {timeout_s:g} s of sending", again=True) from None
        except httpx.HTTPError as error:
            raise Refused("ConnectionLost", self._clean(str(error) or type(error).__name__), again=True) from None
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.text, response.headers.get("retry-after"))
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise Refused("Garbage", f"the answer is no JSON: {self._clean(response.text)!r}") from None

    def _refusal(self, status: int, text: str, retry_after: str | None) -> Refused:
        said = f"HTTP {status}: {self._clean(_server_message(text))}"
        if status == 429:
            return Refused("RateLimited", said, again=True, after=_seconds(retry_after))
        if status >= 500 or status == 408:
            return Refused("ServerError", said, again=True, after=_seconds(retry_after))
        return Refused("PromptTooLong" if any(words in text for words in _LONG) else "BadRequest", said)

    def _clean(self, text: str) -> str:
        """A server's words, short and without the key, should it quote it."""
        return " ".join((text.replace(self._key, "***") if self._key else text).split())[:_QUOTED]


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"the environment variable {variable} is not set", "export it, or mend engine.openai.api_key_env")
    if not (key.isascii() and key.isprintable()):
        raise EngineError(
            f"the environment variable {variable} holds no key: it has characters no header can carry", "export it again"
        )
    return key


def _open_client(config: OpenAIConfig, key: str | None) -> Any:
    try:
        import httpx
    except ImportError:
        raise MissingExtra("httpx", "run") from None
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    local = urlsplit(config.base_url).hostname in ("127.0.0.1", "localhost", "::1")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=config.concurrency)
    # Time is counted in `_send`; a proxy of the environment's has no business with a server on this machine.
    return httpx.AsyncClient(headers=headers, limits=limits, timeout=None, trust_env=not local)


def _result(future: Future[Completion]) -> Completion:
    try:
        return future.result()
    except CancelledError:
        raise EngineError("the openai engine was closed while requests were under way", "start the run again") from None


def _server_message(text: str) -> str:
    """The message inside an error body of any of the usual shapes, else the body itself."""
    try:
        body = json.loads(text)
        inner = body.get("error", body)
        return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError):
        return text


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds, given as a number or as a date; None when it is absent or neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
