"""Many servers behind one engine: who is asked, who is left alone, and that nothing is lost when one goes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.errors import EngineError
from ratoon.generators.engines.live_file import read_live
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.generators.engines.openai_fleet import Fleet
from ratoon.generators.engines.openai_wire import Refused

BASE = Policy("m_base", "/models/base")
SAMPLING = Sampling(max_tokens=16, stop_token_ids=(258,))
BUSY = Refused("RateLimited", "planted", again=True, status=429)
BROKEN = Refused("ConnectionLost", "planted", again=True)
WRONG = Refused("BadRequest", "planted", status=400)


def requests(n: int, first: int = 0) -> list[Request]:
    """One sample of each of `n` prompts."""
    return [Request(f"r_{i}", "m_base", [i], SAMPLING) for i in range(first, first + n)]


def engine(servers: list[Any], **changes: Any) -> OpenAIEngine:
    quick = {"timeout_s": 10.0, "max_retries": 5, "backoff_s": 0.01, "concurrency": 4}
    config = quick | {"base_urls": [server.url for server in servers]} | changes
    return OpenAIEngine(OpenAIConfig.model_validate(config))


def alone(play: Coroutine[Any, Any, Any]) -> Any:
    """What `play` returns, in a thread of its own: a browser of other tests may hold this thread's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, play).result()


def ids(completions: list[Completion]) -> list[str]:
    assert [c.error for c in completions] == [None] * len(completions)
    return sorted(c.request_id for c in completions)


def well_fleet(n: int, most: int = 8) -> Fleet:
    """`n` servers that serve the policy."""
    fleet = Fleet([f"http://server{i}/v1" for i in range(n)], most)
    for server in fleet.servers:
        fleet.reopen(server, "m_base")
    return fleet


def test_all_servers_are_asked_and_none_beyond_its_share(endpoint: Any) -> None:
    with endpoint(lambda body, n: "slow:0.02") as a, endpoint(lambda body, n: "slow:0.02") as b, engine([a, b]) as both:
        both.use(BASE)
        assert ids(list(both.generate(requests(40)))) == sorted(r.request_id for r in requests(40))
    assert min(a.calls, b.calls) >= 10
    assert max(a.peak, b.peak) <= 4


def test_a_server_that_dies_in_mid_run_loses_nothing_and_carries_load_again_once_it_is_back(endpoint: Any) -> None:
    with endpoint(lambda body, n: "slow:0.01") as a, endpoint(lambda body, n: "slow:0.01") as b, engine([a, b]) as both:
        both.use(BASE)
        stream = both.generate(requests(60))
        first = [next(stream) for _ in range(10)]
        b.behaviour = lambda body, n: "hang-up"
        assert len(ids([*first, *stream])) == 60
        b.behaviour = lambda body, n: "ok"
        before, deadline, number = b.calls, time.monotonic() + 10, 1000
        while b.calls < before + 10 and time.monotonic() < deadline:
            list(both.generate(requests(8, first=number)))
            number += 8
            time.sleep(0.1)
    assert b.calls >= before + 10


def test_a_server_that_serves_another_policy_gets_no_request(endpoint: Any) -> None:
    with endpoint() as a, endpoint(models=("m_other",)) as b, engine([a, b]) as both:
        both.use(BASE)
        ids(list(both.generate(requests(20))))
    assert (a.calls, b.calls) == (20, 0)


def test_a_server_that_does_not_answer_at_the_start_is_no_reason_to_stop(endpoint: Any) -> None:
    with endpoint() as a, endpoint() as b, engine([a, b], max_retries=1) as both:
        b.__exit__()
        both.use(BASE)
        assert len(ids(list(both.generate(requests(20))))) == 20


def test_no_server_at_all_is_told_with_each_address(endpoint: Any) -> None:
    with endpoint(models=("m_x",)) as a, endpoint(models=()) as b, engine([a, b]) as both, pytest.raises(EngineError) as caught:
        both.use(BASE)
    assert a.url in str(caught.value)
    assert "m_x" in str(caught.value)
    assert f"{b.url} serves no model" in str(caught.value)


def test_addresses_come_from_a_file_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "servers.txt"
    path.write_text("# two\nhttp://a:8000/v1/\n\nhttp://b:8000/v1\nhttp://a:8000/v1\n", encoding="utf-8")
    assert OpenAIConfig(base_urls_file=str(path)).urls() == ["http://a:8000/v1", "http://b:8000/v1"]
    for text in ("", "# none\n", "a:8000\n", "http://me:secret@a/v1\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(EngineError, match="base_urls_file"):
            OpenAIConfig(base_urls_file=str(path)).urls()


def test_a_busy_server_is_given_half_and_then_slowly_more() -> None:
    async def play() -> list[float]:
        fleet = well_fleet(1)
        (server,), limits = fleet.servers, []
        for error in (BUSY, BUSY, None, None):
            await fleet.take(1)
            fleet.give(server, 1, error)
            limits.append(server.limit)
        return limits

    first, second, third, fourth = alone(play())
    assert (first, second) == (4.0, 4.0)  # the second was sent before the first came back, for all one knows
    assert third == 4.25
    assert fourth == pytest.approx(4.25 + 1 / 4.25)


def test_a_slow_answer_counts_as_busy_and_a_long_one_at_the_usual_pace_does_not() -> None:
    (server,) = well_fleet(1).servers
    assert not server.is_slow(10.0, 100, time_out=300), "nothing is known of its pace yet"
    assert not server.is_slow(200.0, 2000, time_out=300), "as fast as before"
    assert not server.is_slow(140.0, 100, time_out=300), "slower, and far from its time-out"
    assert server.is_slow(160.0, 100, time_out=300)
    assert not server.is_slow(299.0, None, time_out=300), "nobody counted its tokens"


def test_a_slow_answer_halves_what_a_server_is_given() -> None:
    async def play() -> float:
        fleet = well_fleet(1)
        server = await fleet.take(1)
        fleet.give(server, 1, None, slow=True)
        return server.limit

    assert alone(play()) == 4.0


def no_models(endpoint: Any, behaviour: Any = lambda body, n: "ok") -> Any:
    """A router that lists no models, since one of its servers is down."""
    router = endpoint(behaviour)
    router.lists = 500
    return router


def test_a_router_that_lists_no_models_is_asked_if_it_answers_for_the_policy(endpoint: Any) -> None:
    with no_models(endpoint) as router, engine([router], max_retries=0) as one:
        one.use(BASE)
        assert len(ids(list(one.generate(requests(5))))) == 5
    assert router.bodies[0]["max_tokens"] == 1


def test_a_router_that_lists_no_models_and_does_not_know_the_policy_is_not_asked(endpoint: Any) -> None:
    with (
        no_models(endpoint, lambda body, n: "404") as router,
        engine([router], max_retries=0) as one,
        pytest.raises(EngineError, match="500"),
    ):
        one.use(BASE)
    assert [body["model"] for body in router.bodies] == ["m_base", "/models/base"]


def test_a_run_tells_how_its_servers_do_while_it_asks_them(endpoint: Any, tmp_path: Path) -> None:
    live = tmp_path / "servers.json"
    config = OpenAIConfig(base_urls=("http://127.0.0.1:9/v1",), max_retries=0)
    with endpoint(lambda body, n: "slow:0.05") as a:
        both = OpenAIEngine(config.model_copy(update={"base_urls": (a.url, *config.base_urls), "concurrency": 4}), live=live)
        with both:
            both.use(BASE)
            first, rows = 0, []
            while not (rows and rows[0]["answers"]) and first < 2000:
                ids(list(both.generate(requests(20, first))))
                first, rows = first + 20, read_live(live)
    assert (rows[0]["server"], rows[0]["allowed"], rows[0]["most at once"]) == (a.url, 4, 4)
    assert rows[1]["answers"] == 0
    assert read_live(live) == [], "nothing is asked any more"


def test_only_failures_of_the_server_itself_open_its_breaker() -> None:
    async def play(errors: list[Refused | None]) -> bool:
        fleet = well_fleet(2)
        server = fleet.servers[0]
        for error in errors:
            server.under_way += 1
            fleet.give(server, 1, error)
        return server.closed_until is not None

    assert alone(play([BROKEN] * 3))
    assert not alone(play([WRONG] * 9))
    assert not alone(play([BUSY] * 9))
    assert not alone(play([BROKEN, BROKEN, None, BROKEN, BROKEN]))


def test_where_no_server_is_well_one_is_asked_all_the_same() -> None:
    async def play() -> str:
        fleet = well_fleet(2)
        for server in reversed(fleet.servers):
            fleet.close(server)
        return (await asyncio.wait_for(fleet.take(1), 5)).url

    assert alone(play()) == "http://server1/v1"


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.sampled_from([None, BUSY, BROKEN, WRONG])), max_size=40))
def test_what_is_taken_is_given_back_whoever_is_cancelled(steps: list[tuple[int, bool, Refused | None]]) -> None:
    async def play() -> list[int]:
        fleet = well_fleet(2, most=4)
        waiting = [(n, cancel, error, asyncio.create_task(fleet.take(n))) for n, cancel, error in steps]
        await asyncio.sleep(0)
        for _, cancel, _, task in waiting:
            if cancel:
                task.cancel()
        for n, _, error, task in waiting:
            try:
                fleet.give(await asyncio.wait_for(task, 5), n, error)
            except asyncio.CancelledError:
                continue
        return [server.under_way for server in fleet.servers]

    assert alone(play()) == [0, 0]


def test_samples_of_several_callers_share_the_servers(endpoint: Any) -> None:
    done: list[Completion] = []
    with endpoint(lambda body, n: "slow:0.01") as a, endpoint(lambda body, n: "slow:0.01") as b, engine([a, b]) as both:
        both.use(BASE)
        threads = [
            threading.Thread(target=lambda first=first: done.extend(both.generate(requests(20, first)))) for first in (0, 100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ids(done)) == 40
    assert max(a.peak, b.peak) <= 4
