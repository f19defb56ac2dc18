"""Careless and hostile servers: each request comes back once, nothing fills the memory, what was spent is counted."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratoon.engine import Completion, Policy, Request, Sampling, Usage
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import OpenAIConfig

BASE = Policy("m_base", "/models/base")
SAMPLING = Sampling(max_tokens=16, stop_token_ids=(258,))
CHAT = ({"role": "user", "content": "What is 3 + 4?"},)


def samples(n: int, prompt: int = 1, sampling: Sampling = SAMPLING) -> list[Request]:
    """`n` samples of one prompt."""
    return [Request(f"r_{prompt}_{i}", "m_base", [prompt], sampling, messages=CHAT) for i in range(n)]


def ask(server: Any, asked: list[Request], vocabulary: int | None = None, **changes: Any) -> list[Completion]:
    """The completions in the order of the requests."""
    quick = {"base_url": server.url, "timeout_s": 10.0, "max_retries": 2, "backoff_s": 0.01}
    with OpenAIEngine(OpenAIConfig.model_validate(quick | changes), vocabulary=vocabulary) as engine:
        engine.use(BASE)
        completions = {c.request_id: c for c in engine.generate(asked)}
    assert len(completions) == len(asked)
    return [completions[request.request_id] for request in asked]


def error_class(completion: Completion) -> str:
    return (completion.error or "").partition(":")[0]


def test_the_samples_of_one_prompt_go_out_as_one_request(endpoint: Any) -> None:
    with endpoint() as server:
        completions = ask(server, [*samples(10), *samples(3, prompt=2)])
    assert [body["n"] for body in server.bodies] == [8, 2, 3]
    assert [c.error for c in completions] == [None] * 13


def test_an_answer_short_of_choices_is_completed_by_asking_for_the_missing_ones(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "short") as server:
        completions = ask(server, samples(3))
    assert [c.error for c in completions] == [None] * 3
    assert [body["n"] for body in server.bodies] == [3, 2, 1]


def test_a_choice_that_the_server_ended_with_an_error_is_asked_for_again(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "one-failed" if asked == 0 else "ok") as server:
        completions = ask(server, samples(3))
    assert [c.error for c in completions] == [None] * 3
    assert [body["n"] for body in server.bodies] == [3, 1]


def test_a_server_that_refuses_n_is_asked_one_by_one_from_then_on(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "refuses-n") as server:
        completions = ask(server, [*samples(4), *samples(4, prompt=2)], concurrency=4)
    assert [c.error for c in completions] == [None] * 8
    assert [body["n"] for body in server.bodies] == [4, 1, 1, 1, 1, 1, 1, 1, 1]


def test_a_prompt_that_is_refused_alone_too_fails_once_for_all_its_samples(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "400") as server:
        completions = ask(server, samples(5))
    assert {error_class(c) for c in completions} == {"BadRequest"}
    assert server.calls == 2


@pytest.mark.parametrize("how", ["bomb", "endless"])
def test_an_answer_that_would_fill_the_memory_is_cut_off(endpoint: Any, how: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with endpoint(lambda body, asked: how) as server:
        (completion,) = ask(server, samples(1))
    assert error_class(completion) == "TooLarge"
    assert server.calls == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("how", ["no-http", "half-closed"])
def test_a_broken_connection_is_opened_anew(endpoint: Any, how: str) -> None:
    with endpoint(lambda body, asked: how if asked == 0 else "ok") as server:
        completions = ask(server, [*samples(1), *samples(1, prompt=2)], concurrency=1)
    assert [c.error for c in completions] == [None, None]


def test_a_redirect_is_not_followed_and_is_told(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "redirect") as server:
        (completion,) = ask(server, samples(1))
    assert error_class(completion) == "BadRequest"
    assert "307" in (completion.error or "")


@pytest.mark.parametrize("wild", ["Mon, 01 Jan 2024 00:00:00 +99999999999999", "nan", "-1e999", "1e999", "soon", "9" * 500, ""])
def test_a_wild_retry_after_ends_nothing(endpoint: Any, wild: str) -> None:
    with endpoint(lambda body, asked: "429" if asked == 0 else "ok", retry_after=wild) as server:
        started = time.monotonic()
        (completion,) = ask(server, samples(1), max_backoff_s=0.1)
    assert completion.error is None
    assert time.monotonic() - started < 5


def test_ids_beyond_the_vocabulary_are_another_models(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "foreign-ids") as server:
        (completion,) = ask(server, samples(1), vocabulary=300)
    assert error_class(completion) == "Garbage"
    assert "99999999" in (completion.error or "")


@pytest.mark.parametrize(
    ("how", "text", "finish"),
    [
        ("parts", "It is 7.", "stop"),
        ("no-content", "", "stop"),
        ("finish:eos", "It is 7.", "stop"),
        ("finish:max_tokens", "It is 7.", "length"),
        ("surrogate", "\ud800 7", "stop"),
    ],
)
def test_a_chat_reply_is_read_as_servers_write_it(endpoint: Any, how: str, text: str, finish: str) -> None:
    with endpoint(lambda body, asked: how) as server:
        (completion,) = ask(server, samples(1), mode="chat")
    assert (completion.error, completion.text, completion.finish_reason) == (None, text, finish)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("refusal", "Refusal"),
        ("tool-call", "ToolCalls"),
        ("finish:content_filter", "ContentFilter"),
        ("finish:planted", "Garbage"),
    ],
)
def test_what_is_no_reply_is_an_error_of_its_own_class(endpoint: Any, how: str, expected: str) -> None:
    with endpoint(lambda body, asked: how) as server:
        (completion,) = ask(server, samples(1), mode="chat")
    assert error_class(completion) == expected


def test_a_server_that_wants_max_completion_tokens_gets_it(endpoint: Any) -> None:
    with endpoint() as server:
        ask(server, samples(1), mode="chat", max_tokens_field="max_completion_tokens")
    assert (server.bodies[0].get("max_tokens"), server.bodies[0]["max_completion_tokens"]) == (None, 16)


def test_what_the_server_counted_is_shared_among_the_samples(endpoint: Any) -> None:
    with endpoint() as server:
        completions = ask(server, samples(3), mode="chat")
    assert [c.usage for c in completions] == [Usage(11, 5, 4), Usage(0, 5), Usage(0, 5)]


def test_a_chat_reply_that_nobody_counted_stands_for_the_most_it_can_have_cost(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "uncounted") as server:
        (completion,) = ask(server, samples(1), mode="chat")
    assert completion.usage == Usage(1, 16, 0, assumed=1)


def test_an_attempt_that_may_have_been_paid_for_is_counted_with_the_reply_or_the_failure(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "half" if asked == 0 else "ok") as server:
        (completion,) = ask(server, samples(1))
    assert completion.usage == Usage(1 + 1, 3 + 16, 0, assumed=1)
    with endpoint(lambda body, asked: "half") as server:
        (completion,) = ask(server, samples(1))
    assert completion.usage == Usage(3, 48, 0, assumed=3)
    with endpoint(lambda body, asked: "500") as server:
        (completion,) = ask(server, samples(1))
    assert completion.usage is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
FIELDS = ("choices", "usage", "error", "message", "content", "finish_reason", "token_ids", "logprobs", "index", "text")
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4) | st.lists(inner, min_size=1, max_size=2),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def any_answer(endpoint: Any) -> Any:
    """A server that answers with whatever `behaviour` is set to, and an engine per mode on it."""
    with endpoint() as server:
        settings_ = {"base_url": server.url, "timeout_s": 10.0, "max_retries": 0, "backoff_s": 0.001}
        engines = [OpenAIEngine(OpenAIConfig.model_validate(settings_ | {"mode": mode})) for mode in ("tokens", "chat")]
        with engines[0], engines[1]:
            for engine in engines:
                engine.use(BASE)
            yield server, engines


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=SHAPED | st.fixed_dictionaries({"choices": st.lists(SHAPED, min_size=1, max_size=2)}))
def test_any_answer_that_json_can_write_gives_one_completion_a_request(any_answer: Any, answer: Any) -> None:
    server, engines = any_answer
    server.behaviour = lambda body, asked: "json:" + json.dumps(answer)
    for engine in engines:
        asked = samples(2)
        completions = list(engine.generate(asked))
        assert sorted(c.request_id for c in completions) == sorted(r.request_id for r in asked)
        assert all(c.error is not None or c.text is not None or c.token_ids for c in completions)
