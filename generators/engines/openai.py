"""OpenAI-compatible servers, `vllm serve` first of all; it knows the wire by `openai_wire` and no model library.

One thread with one event loop serves every caller, so that all shards together keep `concurrency` replies under way at each
server (`openai_fleet` says which server is asked). Samples
of one prompt go out as one request with `n`; a server that refuses `n` gets them one by one, and one that sends fewer is asked
for the missing ones. What passes is asked again (`openai_http`); whatever else goes wrong is one failed completion. No seed is
sent with a request: it kills vLLM's CPU engine, and samples are recorded, not reproduced. Which name a server has for a policy
is for `openai_models` to find out.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ratoon.engine import Completion, Policy, Request, Usage, failed
from ratoon.errors import EngineError, NotServed, Unsupported
from ratoon.generators.engines import openai_wire as wire
from ratoon.generators.engines.live_file import LiveFile
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.generators.engines.openai_fleet import Fleet, Server
from ratoon.generators.engines.openai_http import HttpClient
from ratoon.generators.engines.openai_models import how_to_serve, served_as, tell
from ratoon.generators.engines.openai_wire import Refused
from ratoon.generators.engines.requestlog import RequestLog

_FILE_S = 10


class OpenAIEngine:
    """Asks its servers from a background event loop; `generate` may run in many threads at once.

    `vocabulary` is how many ids the model's tokenizer has: an answer with another id is none of this model's. `live` is a file
    that tells once a second how each server does, as long as the engine is open.
    """

    name = "openai"

    def __init__(
        self,
        config: OpenAIConfig,
        request_log: Path | None = None,
        vocabulary: int | None = None,
        live: Path | None = None,
    ) -> None:
        self._config, self._vocabulary = config, vocabulary
        self._client = HttpClient(config)
        self._log = RequestLog(request_log)
        self._live = LiveFile(live)
        self._fleet = Fleet(config.urls(), config.concurrency)
        self._policy: Policy | None = None
        self._samples = config.samples_per_request  # 1 once the server refused more
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = threading.Lock()  # nothing may be handed to a loop that is about to stop

    def __enter__(self) -> OpenAIEngine:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        self._submit(self._client.open()).result()
        self._submit(self._watch())
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
        self._live.remove()

    def use(self, policy: Policy) -> None:
        """Find the name each server has for `policy`. Raises NotServed when none serves it or none answers."""
        answers = self._submit(self._find(policy)).result()
        if not any(server.name for server in self._fleet.servers):
            answers += self._submit(tell(self._client, self._config, policy)).result()
            raise NotServed(f"{'; '.join(answers)}, not {policy.policy_id} ({policy.path})", how_to_serve(self._config, policy))
        self._policy = policy

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; `concurrency` a server of this caller's requests are handed over at once."""
        done: queue.SimpleQueue[Future[list[Completion]]] = queue.SimpleQueue()
        source, running = iter(requests), dict[Future[list[Completion]], int]()
        try:
            while True:
                room = self._config.concurrency * len(self._fleet.servers) - sum(running.values())
                for group in _of_one_prompt(islice(source, room), self._samples):
                    future = self._submit(self._complete(group))
                    running[future] = len(group)
                    future.add_done_callback(done.put)
                if not running:
                    return
                future = done.get()
                del running[future]
                yield from _result(future)
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
        await self._client.close()

    async def _find(self, policy: Policy) -> list[str]:
        """Ask every server for its models and note the name it has for `policy`; what each said."""
        return await asyncio.gather(*(self._look(server, policy) for server in self._fleet.servers))

    async def _look(self, server: Server, policy: Policy) -> str:
        for attempt in range(self._config.max_retries + 1):
            try:
                name, told = await served_as(self._client, self._config, server.url, policy)
                break
            except Refused as error:
                if not error.again or attempt == self._config.max_retries:
                    server.name = None
                    return f"{server.url}/models: {error.error_class}: {error.message}"
                await asyncio.sleep(self._client.wait(attempt, error.after))
        self._fleet.reopen(server, name)
        return told

    async def _watch(self) -> None:
        """Every second ask servers that were left alone whether they are back; every 10 s read the file of addresses."""
        while True:
            for _ in range(_FILE_S):
                await asyncio.sleep(1.0)
                self._live.write(self._fleet.rows())
                if (policy := self._policy) is not None and len(self._fleet.servers) > 1:
                    await asyncio.gather(*(self._probe(server, policy) for server in self._fleet.due()))
            if self._config.base_urls_file is not None:
                with suppress(EngineError):  # a file that is being written is read the next time
                    self._fleet.replace(self._config.urls())

    async def _probe(self, server: Server, policy: Policy) -> None:
        try:
            name, _ = await served_as(self._client, self._config, server.url, policy)
        except Refused:
            self._fleet.close(server)
        else:
            self._fleet.reopen(server, name)

    async def _complete(self, group: list[Request], first: bool = True) -> list[Completion]:
        """One completion for each of these samples of one prompt, asking again for those that an answer lacks.

        `first`: none of them was sent before; then they are put into the log of requests.
        """
        completions: list[Completion] = []
        while left := group[len(completions) :]:
            started = time.monotonic()
            try:
                choices, counted, paid, started = await self._ask(left, first and not completions)
            except Refused as error:
                if error.error_class == "BadRequest" and len(left) > 1:
                    return [*completions, *await self._one_by_one(left)]
                return [*completions, *_all_failed(left, error, time.monotonic() - started)]
            seconds = time.monotonic() - started
            read = [self._read(*pair, seconds) for pair in zip(choices, left, strict=False)]
            completions += _with_usage(read, left[: len(read)], counted, paid)
        return completions

    async def _one_by_one(self, group: list[Request]) -> list[Completion]:
        """Each request alone, after several at once were refused; where the first is refused too, all are."""
        head = await self._complete(group[:1], first=False)
        if (head[0].error or "").startswith("BadRequest"):
            error = Refused("BadRequest", (head[0].error or "").partition(": ")[2])
            return [*head, *_all_failed(group[1:], error, head[0].seconds)]
        self._samples = 1
        return head + [reply for request in group[1:] for reply in await self._complete([request], first=False)]

    async def _ask(self, group: list[Request], log: bool) -> tuple[list[dict[str, Any]], Usage | None, int, float]:
        """Choices for these samples, what the server counted, attempts paid in vain, and when the answer was asked for.

        Asks again as often as it takes and the config allows, each time whichever server has room. Raises Refused.
        """
        self._check(group[0])
        n, paid, attempt = len(group), 0, 0
        while True:
            server = await self._fleet.take(n)
            started, refused, slow = time.monotonic(), None, False
            try:
                for request in group if log and attempt == 0 else ():
                    self._log.sent(request.request_id)
                answer = await self._post(server, group)
                choices, counted = wire.choices(answer, n)
                slow = server.is_slow(time.monotonic() - started, wire.longest(answer, n), self._config.timeout_s)
                return choices, counted, paid, started
            except Refused as error:
                refused = error
            finally:
                self._fleet.give(server, n, refused, slow)
            paid += refused.paid
            if not refused.again or attempt == self._config.max_retries:
                refused.paid = paid
                raise refused
            await asyncio.sleep(self._client.wait(attempt, refused.after))
            attempt += 1

    async def _post(self, server: Server, group: list[Request]) -> Any:
        n, limit = len(group), self._config.timeout_s
        body, most = wire.body(self._config, group[0], server.name or "", n), wire.most_bytes(group[0], n)
        return await self._client.send("POST", server.url + wire.PATHS[self._config.mode], body, limit, most)

    def _check(self, request: Request) -> None:
        """Raise Refused where no server may be asked this at all."""
        if self._policy is None or request.policy_id != self._policy.policy_id:
            in_use = self._policy and self._policy.policy_id
            raise Refused("WrongPolicy", f"asked for {request.policy_id}, in use is {in_use}")
        wanted, served = request.sampling.logprobs_mode, self._config.served_logprobs
        if self._config.mode == "tokens" and wanted not in ("none", served):
            raise Refused("Unsupported", f"asked for {wanted}, engine.openai.served_logprobs is {served}")

    def _read(self, choice: dict[str, Any], request: Request, seconds: float) -> Completion:
        try:
            if self._config.mode == "chat":
                return wire.read_chat(choice, request, seconds)
            source = f"{self.name}:{self._config.served_logprobs}"
            return wire.read_tokens(choice, request, source, seconds, self._vocabulary)
        except Refused as error:
            return failed(request, error.error_class, error.message, seconds)


def _of_one_prompt(requests: Iterable[Request], most: int) -> Iterator[list[Request]]:
    """Runs of requests that differ in their id alone, at most `most` long, in the order they come."""
    group: list[Request] = []
    for request in requests:
        if group and (len(group) == most or replace(request, request_id=group[0].request_id) != group[0]):
            yield group
            group = []
        group.append(request)
    if group:
        yield group


def _all_failed(group: Sequence[Request], error: Refused, seconds: float | None) -> list[Completion]:
    """Each request as failed by `error`; attempts that may have been paid for are counted with the most they can cost."""
    usage = [wire.most(request, error.paid) if error.paid else None for request in group]
    return [
        failed(request, error.error_class, error.message, seconds, used) for request, used in zip(group, usage, strict=True)
    ]


def _with_usage(completions: list[Completion], requests: Sequence[Request], told: Usage | None, paid: int) -> list[Completion]:
    """The completions with what the server counted, and attempts that were paid in vain at the most they can have cost."""
    counted = wire.shares(told, completions, requests)
    if paid:
        vain = [wire.most(request, paid) for request in requests]
        known = [used or Usage(c.prompt_tokens, len(c.token_ids)) for used, c in zip(counted, completions, strict=True)]
        counted = [a + b for a, b in zip(known, vain, strict=True)]
    return [replace(c, usage=used) for c, used in zip(completions, counted, strict=True)]


def _result(future: Future[list[Completion]]) -> list[Completion]:
    try:
        return future.result()
    except CancelledError:
        raise EngineError("the openai engine was closed while requests were under way", "start the run again") from None
