"""A misbehaving OpenAI-compatible server on loopback, for tests: it answers each request as it is told, and counts.

It runs in a thread with its own event loop and binds a free port of 127.0.0.1. What a request gets is decided by
`behaviour`, a function of the parsed body and of how often the same prompt was asked before.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

Behaviour = Callable[[dict[str, Any], int], str]
END = 258


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """A good answer of as many choices as were asked for: three ids and their log-probs, or text where messages were sent."""
    n = body.get("n", 1)
    if "messages" in body:
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": "It is 7."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 11, "completion_tokens": 5 * n, "prompt_tokens_details": {"cached_tokens": 4}}
        return {"choices": [copy.deepcopy(choice) for _ in range(n)], "usage": usage}
    ids = [65, 66, END]
    choice = {"token_ids": ids, "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5, -0.25, -1]}}
    return {"choices": [copy.deepcopy(choice) for _ in range(n)]}


def damaged(body: dict[str, Any], how: str) -> Any:
    """A good answer with one thing wrong."""
    answer = reply(body)
    choice = answer["choices"][0]
    match how:
        case "no-ids":
            del choice["token_ids"]
        case "text-ids":
            choice["token_ids"] = ["65", "66", "258"]
        case "empty-ids":
            choice["token_ids"] = []
        case "no-logprobs":
            choice["logprobs"] = None
        case "short-logprobs":
            choice["logprobs"]["token_logprobs"].pop()
        case "nan-logprobs":
            choice["logprobs"]["token_logprobs"][0] = float("nan")
        case "odd-finish":
            choice["finish_reason"] = "planted"
        case "no-choices":
            answer = {"object": "text_completion"}
        case "two-choices":
            answer["choices"].append(choice)
        case "no-content":
            choice["message"] = {"role": "assistant", "content": None}
        case "surrogate":
            choice["message"]["content"] = "\ud800 7"
        case "foreign-ids":
            choice["token_ids"] = [99_999_999, 5, END]
        case "short":
            del answer["choices"][1:]
        case "one-failed":
            choice["finish_reason"] = "error"
        case "parts":
            choice["message"]["content"] = [{"type": "text", "text": "It is "}, {"type": "text", "text": "7."}]
        case "refusal":
            choice["message"] = {"role": "assistant", "content": None, "refusal": "I can not."}
        case "tool-call":
            choice["message"] = {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}
            choice["finish_reason"] = "tool_calls"
        case "cut-while-thinking":
            choice["message"] = {"role": "assistant", "content": None, "reasoning_content": "Let me add"}
            choice["finish_reason"] = "length"
        case "uncounted":
            del answer["usage"]
        case _ if how.startswith("finish:"):
            choice["finish_reason"] = how[7:]
        case _ if how.startswith("json:"):
            answer = json.loads(how[5:])
        case "list":
            answer = [1, 2]  # type: ignore[assignment]
    return answer


class Endpoint:
    """`with Endpoint(behaviour) as server:` serves at `server.url`; read `calls`, `listed`, `peak` and `bodies` afterwards."""

    def __init__(
        self, behaviour: Behaviour = lambda body, n: "ok", models: tuple[str, ...] = ("m_base",), retry_after: str = "0"
    ) -> None:
        self.behaviour, self.models, self.retry_after = behaviour, models, retry_after
        self.calls, self.listed, self.running, self.peak = 0, 0, 0, 0
        self.lists = 200  # the status of its list of models
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self._asked: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *exc: object) -> None:
        """Closing twice is no error: a test may close it early."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().split("\r\n")
                headers = {k.strip().lower(): v.strip() for k, v in (h.split(":", 1) for h in rest if ":" in h)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if line.startswith("GET"):
                    self.listed += 1
                    _write(writer, self.lists, {"data": [{"id": model} for model in self.models]})
                elif not await self._answer(json.loads(body), headers, writer):
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False closes the connection."""
        prompt = json.dumps(body.get("prompt", body.get("messages")))
        how, self._asked[prompt] = self.behaviour(body, self._asked[prompt]), self._asked[prompt] + 1
        self.calls, self.running = self.calls + 1, self.running + 1
        self.peak = max(self.peak, self.running)
        self.bodies.append(body)
        self.headers.append(headers)
        self.times.append(time.monotonic())
        try:
            return await self._play(how, body, writer)
        finally:
            self.running -= 1

    async def _play(self, how: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if how == "never":
            await asyncio.sleep(60)
        elif how == "hang-up":
            return False
        elif how == "half":
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choi')
            await writer.drain()
            return False
        elif how.startswith("slow:"):
            await asyncio.sleep(float(how[5:]))
            _write(writer, 200, reply(body))
        elif how.isdigit():
            _write(
                writer, int(how), {"error": {"message": f"planted {how}"}}, self.retry_after if how in ("429", "503") else None
            )
        elif how == "too-long":
            _write(writer, 400, {"error": {"message": "This model's maximum context length is 8 tokens."}})
        elif how == "echo-key":
            _write(writer, 401, {"error": {"message": f"bad key: {self.headers[-1].get('authorization')}"}})
        elif how == "refuses-n" and body["n"] > 1:
            _write(writer, 400, {"error": {"message": "n must be 1"}})
        elif how == "refuses-n":
            _write(writer, 200, reply(body))
        elif how == "error-200":
            _write(writer, 200, {"error": {"message": "upstream overloaded", "code": 503}})
        elif how == "redirect":
            writer.write(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:9/v1\r\nContent-Length: 0\r\n\r\n")
        elif how == "bomb":
            packed = _bomb()
            writer.write(b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
        elif how == "endless":
            writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                await writer.drain()
        elif how == "cut":
            _write(writer, 200, json.dumps(reply(body)).encode()[:-20])
        elif how == "half-closed":
            _write(writer, 200, reply(body))
            await writer.drain()
            return False
        elif how == "no-http":
            writer.write(b"\x00\x01 nonsense\r\n\r\n")
            await writer.drain()
            return False
        elif how == "garbage":
            _write(writer, 200, b"<html>busy</html>")
        elif how == "deep":
            _write(writer, 200, b"[" * 100_000)
        else:
            _write(writer, 200, reply(body) if how == "ok" else damaged(body, how))  # NaN is written as JSON has it not
        await writer.drain()
        return True


def _bomb() -> bytes:
    """128 MB of blanks, packed."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(128)) + packer.flush()


def _write(writer: asyncio.StreamWriter, status: int, body: Any, retry_after: str | None = None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{more}\r\n"
    writer.write(head.encode() + data)
