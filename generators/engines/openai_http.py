"""HTTP: bytes of a request in, the JSON of its answer out, once, bounded in bytes and in time; or why not.

A time-out counts from when a request is sent. Time-outs, lost connections, 408, 429, 5xx and answers that are no JSON may be
asked again after a wait drawn from [0, base * 2**attempt] (full jitter), never sooner than `Retry-After` says. A body is read
up to a bound and unpacked up to the same bound, so that neither an endless answer nor a bomb of gzip fills the memory. A
redirect is not followed: it would carry the key elsewhere. It knows no prompt and no completion.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import zlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from ratoon.errors import EngineError, MissingExtra
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.generators.engines.openai_wire import Refused, error_under_200

_QUOTED = 200  # characters of a server's own message that are passed on
_LONG = ("context length", "context_length_exceeded")
_ERROR_BYTES = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class HttpClient:
    """One session for every server of an engine, on one event loop."""

    def __init__(self, config: OpenAIConfig) -> None:
        try:
            import aiohttp
        except ImportError:
            raise MissingExtra("aiohttp", "run") from None
        self._config, self._aiohttp = config, aiohttp
        self._key = _api_key(config.api_key_env)
        self._session: Any = None

    async def open(self) -> None:
        """Open the session: no request is sent."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        local = all(urlsplit(url).hostname in _LOOPBACK for url in self._config.urls())
        self._session = self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=0),
            headers=headers,
            timeout=self._aiohttp.ClientTimeout(total=None),  # time is counted in `_send`
            cookie_jar=self._aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=not local,  # a proxy has no business with a server on this machine
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()

    def wait(self, attempt: int, after: float | None) -> float:
        """Seconds to wait before asking again: full jitter, after what the server asked for, up to the longest wait."""
        bound = min(self._config.max_backoff_s, self._config.backoff_s * 2**attempt)
        return min(self._config.max_backoff_s, after or 0.0) + random.uniform(0, bound)

    async def send(self, method: str, url: str, body: bytes | None, timeout_s: float, most_bytes: int) -> Any:
        """The JSON of a 200 or 202, of at most `most_bytes`. Raises Refused."""
        connecting = self._aiohttp.ClientConnectorError
        try:
            async with asyncio.timeout(timeout_s):
                status, headers, data = await self._exchange(method, url, body, most_bytes)
        except TimeoutError:
            message = f"no answer within {timeout_s:g} s of sending"
            raise Refused("Timeout", message, again=True, paid=1) from None
        except (self._aiohttp.ClientError, OSError) as error:
            message = self._clean(str(error) or type(error).__name__)
            paid = 0 if isinstance(error, connecting) else 1
            raise Refused("ConnectionLost", message, again=True, paid=paid) from None
        except ValueError as error:  # aiohttp's word for a header that is none
            message = self._clean(f"the answer is no HTTP: {error}")
            raise Refused("Garbage", message, again=True, paid=1) from None
        if status not in (200, 202):
            raise self._refusal(status, data.decode(errors="replace"), headers.get("retry-after"))
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            message = f"the answer is no JSON: {self._clean(data[:2000].decode(errors='replace'))!r}"
            raise Refused("Garbage", message, again=True, paid=1) from None
        told = error_under_200(answer)
        if told is not None:
            raise self._refusal(told[0], told[1], headers.get("retry-after"), "HTTP 200 with an error")
        return answer

    async def _exchange(
        self, method: str, url: str, body: bytes | None, most_bytes: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the whole body of one answer. Raises Refused where it is longer than `most_bytes`."""
        async with self._session.request(method, url, data=body, allow_redirects=False) as response:
            most = most_bytes if response.status == 200 else _ERROR_BYTES
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > most:
                    raise Refused("TooLarge", f"an answer of more than {most:,} bytes", paid=1)
            packed = response.headers.get("Content-Encoding", "identity").strip().lower()
            return response.status, response.headers, _unpacked(bytes(data), packed, most)

    def _refusal(self, status: int, text: str, retry_after: str | None, told: str | None = None) -> Refused:
        message = f"{told or f'HTTP {status}'}: {self._clean(_server_message(text))}"
        if status == 429:
            return Refused("RateLimited", message, again=True, after=_seconds(retry_after), status=status)
        if status >= 500 or status == 408:
            return Refused("ServerError", message, again=True, after=_seconds(retry_after), status=status)
        too_long = any(words in text for words in _LONG)
        return Refused("PromptTooLong" if too_long else "BadRequest", message, status=status)

    def _clean(self, text: str) -> str:
        """A server's words, short and without the key, should it quote it, plain or encoded."""
        if self._key:
            forms = (self._key, quote(self._key, safe=""), b64encode(self._key.encode()).decode().rstrip("="))
            for form in forms:
                text = text.replace(form, "***")
        return " ".join(text.split())[:_QUOTED]


def _unpacked(data: bytes, packed: str, most: int) -> bytes:
    """The body without its compression, which nobody asked for. Raises Refused past `most` bytes."""
    if packed in ("identity", ""):
        return data
    if packed not in ("gzip", "deflate"):
        raise Refused("Garbage", f"an answer packed as {packed[:40]!r}, which was not asked for", paid=1)
    unpack = zlib.decompressobj(wbits=47 if packed == "gzip" else 15)
    try:
        plain = unpack.decompress(data, most + 1)
    except zlib.error:
        raise Refused("Garbage", f"an answer that is no {packed}", again=True, paid=1) from None
    if len(plain) > most:
        raise Refused("TooLarge", f"an answer of more than {most:,} bytes unpacked", paid=1)
    return plain


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(
            f"the environment variable {variable} is not set",
            "export it, or mend engine.openai.api_key_env",
        )
    if not (key.isascii() and key.isprintable()):
        raise EngineError(
            f"the environment variable {variable} holds no key: it has characters no header can carry",
            "export it again",
        )
    return key


def _server_message(text: str) -> str:
    """The message inside an error body of any of the usual shapes, else the body itself."""
    try:
        body = json.loads(text)
        inner = body.get("error", body)
        return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError, RecursionError):
        return text


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds, given as a number or as a date; None when it is absent or neither."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        return max(0.0, seconds) if not math.isnan(seconds) else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
