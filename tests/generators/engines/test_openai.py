"""The openai engine against a server that misbehaves: every request comes back once, with ids or with an honest error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratoon.config import semantic
from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.errors import EngineError, Unsupported
from ratoon.generators.engines import openai_wire
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import PRESETS, VENDOR_FIELDS, OpenAIConfig

BASE = Policy("m_base", "/models/base")
SAMPLING = Sampling(max_tokens=16, stop_token_ids=(258,))


def requests(n: int, sampling: Sampling = SAMPLING, first: int = 0) -> list[Request]:
    """Request i has the prompt [i], so that a behaviour can tell them apart."""
    return [Request(f"r_{i}", "m_base", [i], sampling) for i in range(first, first + n)]


def config(server: Any, **changes: Any) -> OpenAIConfig:
    quick = {"base_url": server.url, "timeout_s": 10.0, "max_retries": 2, "backoff_s": 0.01}
    return OpenAIConfig.model_validate(quick | changes)


def ask(server: Any, asked: list[Request], **changes: Any) -> dict[str, Completion]:
    with OpenAIEngine(config(server, **changes)) as engine:
        engine.use(BASE)
        done = list(engine.generate(asked))
    assert sorted(c.request_id for c in done) == sorted(r.request_id for r in asked)
    return {c.request_id: c for c in done}


def error_class(completion: Completion) -> str:
    return (completion.error or "").partition(":")[0]


def for_prompt(number: int, how: str) -> Callable[[dict[str, Any], int], str]:
    """`how` for one prompt, a good answer for all others."""
    return lambda body, asked: how if body["prompt"] == [number] else "ok"


def test_ids_and_log_probs_come_as_the_server_sent_them(endpoint: Any) -> None:
    with endpoint() as server:
        done = ask(server, requests(3))
    for completion in done.values():
        assert completion.token_ids == [65, 66, 258]
        assert completion.logprobs == [-0.5, -0.25, -1.0]
        assert completion.logprob_source == "openai:processed_logprobs"
        assert completion.finish_reason == "stop"
        assert completion.prompt_tokens == 1


def test_every_sampling_field_is_sent_and_no_seed(endpoint: Any) -> None:
    sampling = Sampling(0.7, 0.9, 5, 0.1, 0.2, 0.3, 1.1, 12, (258, 256))
    with endpoint() as server:
        ask(server, [Request("r", "m_base", [1, 2], sampling, prefix_token_ids=[3], schema='{"type": "object"}')])
    (body,) = server.bodies
    expected = {
        "model": "m_base", "prompt": [1, 2, 3], "n": 1, "stream": False, "echo": False, "ignore_eos": True,
        "return_token_ids": True, "logprobs": 0,
        "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "presence_penalty": 0.2, "frequency_penalty": 0.3,
        "repetition_penalty": 1.1, "max_tokens": 12, "stop_token_ids": [258, 256],
        "structured_outputs": {"json": {"type": "object"}},
    }  # fmt: skip
    assert body == expected


@pytest.mark.parametrize("how", ["429", "500", "503", "never", "hang-up", "half"])
def test_a_passing_failure_is_asked_again_until_it_passes(endpoint: Any, how: str) -> None:
    with endpoint(lambda body, asked: how if asked < 2 else "ok") as server:
        (completion,) = ask(server, requests(1), timeout_s=0.8).values()
    assert completion.error is None
    assert server.calls == 3


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("429", "RateLimited"),
        ("500", "ServerError"),
        ("408", "ServerError"),
        ("never", "Timeout"),
        ("half", "ConnectionLost"),
        ("error-200", "ServerError"),
        *[(how, "Garbage") for how in ("garbage", "deep", "list", "no-choices", "cut")],
    ],
)
def test_a_lasting_failure_is_one_failed_completion_after_the_retries_and_the_others_go_on(
    endpoint: Any, how: str, expected: str
) -> None:
    with endpoint(for_prompt(2, how)) as server:
        done = ask(server, requests(5), timeout_s=0.5 if how == "never" else 10.0)
    assert {i: error_class(c) for i, c in done.items() if c.error} == {"r_2": expected}
    assert server.calls == 4 + 3


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("400", "BadRequest"),
        ("302", "BadRequest"),
        ("too-long", "PromptTooLong"),
        *[(how, "Garbage") for how in ("no-ids", "text-ids", "empty-ids", "no-logprobs", "short-logprobs")],
        *[(how, "Garbage") for how in ("nan-logprobs", "odd-finish", "two-choices")],
    ],
)
def test_what_asking_again_cannot_mend_fails_at_once_and_alone(endpoint: Any, how: str, expected: str) -> None:
    with endpoint(for_prompt(2, how)) as server:
        done = ask(server, requests(5))
    assert {i: error_class(c) for i, c in done.items() if c.error} == {"r_2": expected}
    assert server.calls == 5
    failed = done["r_2"]
    assert (list(failed.token_ids), failed.logprobs, failed.finish_reason) == ([], None, "error")


def test_more_ids_than_were_asked_for_are_garbage(endpoint: Any) -> None:
    with endpoint() as server:
        (completion,) = ask(server, requests(1, Sampling(max_tokens=2))).values()
    assert error_class(completion) == "Garbage"


def test_a_server_that_is_gone_fails_every_request_and_hangs_none(endpoint: Any) -> None:
    with endpoint() as server, OpenAIEngine(config(server, max_retries=1)) as engine:
        engine.use(BASE)
        server.__exit__()
        done = list(engine.generate(requests(4)))
    assert {error_class(c) for c in done} == {"ConnectionLost"}


@pytest.mark.parametrize("retry_after", ["0.4", "date"])
def test_retry_after_is_waited_for(endpoint: Any, retry_after: str) -> None:
    if retry_after == "date":  # whole seconds: two ahead is more than one away
        retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with endpoint(lambda body, asked: "429" if asked == 0 else "ok", retry_after=retry_after) as server:
        ask(server, requests(1))
    assert server.times[1] - server.times[0] >= 0.39


def test_the_longest_wait_bounds_what_a_server_may_ask_for(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "429" if asked == 0 else "ok", retry_after="3600") as server:
        started = time.monotonic()
        ask(server, requests(1), max_backoff_s=0.2)
    assert time.monotonic() - started < 5


def test_no_more_requests_are_under_way_than_the_concurrency_over_all_callers(endpoint: Any) -> None:
    with (
        endpoint(lambda body, asked: "slow:0.02") as server,
        OpenAIEngine(config(server, concurrency=5)) as engine,
    ):
        engine.use(BASE)
        done: list[Completion] = []
        work = [threading.Thread(target=lambda n=n: done.extend(engine.generate(requests(20, first=n)))) for n in (0, 100, 200)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert server.peak == 5
    assert sorted(c.request_id for c in done) == sorted(r.request_id for n in (0, 100, 200) for r in requests(20, first=n))


def test_time_in_the_queue_is_no_part_of_the_timeout(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "slow:0.15") as server:
        done = ask(server, requests(6), concurrency=1, max_retries=0, timeout_s=0.6)
    assert [c.error for c in done.values()] == [None] * 6
    assert sum(c.seconds or 0.0 for c in done.values()) > 0.6


def test_requests_are_taken_from_the_source_only_as_there_is_room(endpoint: Any) -> None:
    taken: list[str] = []

    def source() -> Any:
        for request in requests(50):
            taken.append(request.request_id)
            yield request

    with endpoint() as server, OpenAIEngine(config(server, concurrency=4)) as engine:
        engine.use(BASE)
        stream = engine.generate(source())
        next(stream)
        assert len(taken) == 4
        assert len(list(stream)) == 49


def test_a_caller_that_stops_reading_leaves_the_engine_usable(endpoint: Any) -> None:
    with endpoint(lambda body, asked: "slow:0.05") as server, OpenAIEngine(config(server, concurrency=4)) as engine:
        engine.use(BASE)
        stream = engine.generate(requests(20))
        next(stream)
        stream.close()
        assert len(list(engine.generate(requests(5, first=100)))) == 5


def test_closing_the_engine_under_way_ends_the_callers_with_an_error(endpoint: Any) -> None:
    caught: list[Exception] = []
    with endpoint(lambda body, asked: "never") as server:
        engine = OpenAIEngine(config(server, timeout_s=30)).__enter__()
        engine.use(BASE)

        def work() -> None:
            try:
                list(engine.generate(requests(3)))
            except EngineError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while server.running < 3:
            time.sleep(0.01)
        engine.__exit__(None, None, None)
        thread.join(5)
    assert "closed" in str(caught[0])


def test_every_request_is_logged_once_however_often_it_is_sent(endpoint: Any, tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    with endpoint(lambda body, asked: "500" if asked == 0 else "ok") as server, OpenAIEngine(config(server), log) as engine:
        engine.use(BASE)
        assert len(list(engine.generate(requests(4)))) == 4
    assert sorted(log.read_text().splitlines()) == ["r_0", "r_1", "r_2", "r_3"]


def test_a_chat_endpoint_gets_messages_and_gives_text_without_ids_or_log_probs(endpoint: Any) -> None:
    messages = ({"role": "user", "content": "3 + 4?"},)
    with endpoint() as server:
        (completion,) = ask(server, [Request("r", "m_base", [1, 2], SAMPLING, messages=messages)], mode="chat").values()
    assert (completion.text, list(completion.token_ids), completion.logprobs, completion.logprob_source) == (
        "It is 7.",
        [],
        None,
        None,
    )
    assert server.bodies[0]["messages"] == list(messages)
    assert server.bodies[0]["top_k"] == 0
    assert "prompt" not in server.bodies[0]


def test_a_chat_endpoint_that_refuses_unknown_fields_gets_none(endpoint: Any) -> None:
    messages = ({"role": "user", "content": "q"},)
    with endpoint() as server:
        ask(server, [Request("r", "m_base", [1], SAMPLING, messages=messages)], mode="chat", vendor_fields=False)
    known = {"model", "messages", "n", "stream", "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens"}
    assert server.bodies[0].keys() == known


@pytest.mark.parametrize("mode", ["chat", "tokens"])
def test_a_budget_of_thinking_goes_under_the_name_that_the_server_has_for_it(endpoint: Any, mode: str) -> None:
    messages = ({"role": "user", "content": "q"},)
    asked = [Request("r", "m_base", [1], SAMPLING, messages=messages)]
    with endpoint() as server:
        ask(server, asked, mode=mode)
        ask(server, asked, mode=mode, thinking_budget=64)
        ask(server, asked, mode=mode, thinking_budget=0, thinking_budget_field="thinking_budget")
    assert [body.get("thinking_token_budget") for body in server.bodies] == [None, 64, None]
    assert [body.get("thinking_budget") for body in server.bodies] == [None, None, 0]


def test_a_chat_endpoint_cannot_answer_without_messages_or_with_a_prefix_or_without_content(endpoint: Any) -> None:
    messages = ({"role": "user", "content": "q"},)
    asked = [
        Request("none", "m_base", [1], SAMPLING),
        Request("prefix", "m_base", [1], SAMPLING, prefix_token_ids=[3], messages=messages),
        Request("empty", "m_base", [1], SAMPLING, messages=messages),
    ]
    with endpoint(lambda body, n: "no-content") as server:
        done = ask(server, asked, mode="chat")
    assert {i: error_class(c) for i, c in done.items()} == {"none": "BadRequest", "prefix": "Unsupported", "empty": ""}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_that_a_chat_endpoint_sends_apart_is_kept_even_without_an_answer(name: str) -> None:
    request = Request("r", "m_base", [1], SAMPLING)
    for content in ("7", None):
        choice = {"message": {"content": content, name: "3 + 4"}, "finish_reason": "stop"}
        completion = openai_wire.read_chat(choice, request, 0.0)
        assert (completion.text, completion.reasoning) == (content or "", "3 + 4")


def test_no_log_probs_are_asked_for_when_none_are_wanted(endpoint: Any) -> None:
    with endpoint(lambda body, n: "no-logprobs") as server:
        (completion,) = ask(server, requests(1, Sampling(max_tokens=16, logprobs_mode="none"))).values()
    assert (completion.error, completion.logprobs, completion.logprob_source) == (None, None, None)
    assert server.bodies[0]["logprobs"] is None


def test_log_probs_of_another_kind_than_the_server_has_are_refused(endpoint: Any) -> None:
    with endpoint() as server:
        (completion,) = ask(server, requests(1, Sampling(max_tokens=16, logprobs_mode="raw_logprobs"))).values()
    assert error_class(completion) == "Unsupported"
    assert server.calls == 0


def test_a_request_of_another_policy_fails_alone(endpoint: Any) -> None:
    foreign = Request("foreign", "m_other", [9], SAMPLING)
    with endpoint() as server:
        done = ask(server, [*requests(2), foreign])
    assert {i: error_class(c) for i, c in done.items()} == {"r_0": "", "r_1": "", "foreign": "WrongPolicy"}


@pytest.mark.parametrize(
    ("served", "model", "policy", "name"),
    [
        (("/models/base",), None, BASE, "/models/base"),
        (("m_base", "/models/base"), None, BASE, "m_base"),
        (("qwen", "m_base"), "qwen", BASE, "qwen"),
        (("qwen", "m_1"), "qwen", Policy("m_1", "/models/1", 1), "m_1"),
    ],
)
def test_the_served_name_is_the_model_for_the_base_else_the_policy_id_or_the_folder(
    endpoint: Any, served: tuple[str, ...], model: str | None, policy: Policy, name: str
) -> None:
    with endpoint(models=served) as server, OpenAIEngine(config(server, model=model)) as engine:
        engine.use(policy)
        list(engine.generate([Request("r", policy.policy_id, [1], SAMPLING)]))
    assert server.bodies[0]["model"] == name


def test_a_trained_policy_is_never_answered_by_the_base(endpoint: Any) -> None:
    with endpoint(models=("qwen",)) as server, OpenAIEngine(config(server, model="qwen")) as engine:
        engine.use(BASE)
        with pytest.raises(EngineError, match="serves qwen, not m_1") as caught:
            engine.use(Policy("m_1", "/models/1", 1))
    assert "--served-model-name m_1" in caught.value.hint


def test_a_server_that_does_not_answer_is_named_when_a_policy_is_taken_up(endpoint: Any) -> None:
    with endpoint() as server:
        url = server.url
    with (
        OpenAIEngine(OpenAIConfig(base_url=url, max_retries=1, backoff_s=0.01)) as engine,
        pytest.raises(EngineError, match="ConnectionLost") as caught,
    ):
        engine.use(BASE)
    assert "base_url" in caught.value.hint


def test_the_key_comes_from_the_environment_and_reaches_no_message(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sesame-open-1234")
    with endpoint(lambda body, n: "echo-key") as server:
        (completion,) = ask(server, requests(1), api_key_env="SOME_KEY").values()
    assert server.headers[0]["authorization"] == "Bearer sesame-open-1234"
    assert completion.error == "BadRequest: HTTP 401: bad key: Bearer ***"


@pytest.mark.parametrize("value", ["", "two\nlines", "clé"])
def test_a_key_that_is_missing_or_no_key_is_refused_without_being_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(EngineError, match="SOME_KEY") as caught:
        OpenAIEngine(OpenAIConfig(api_key_env="SOME_KEY"))
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    "bad", ["localhost:8000", "ftp://x/v1", "http://user:secret@host/v1", "http://host/v1?key=secret", "http:///v1"]
)
def test_a_base_url_that_is_none_or_holds_a_secret_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError, match=r"must (be|hold)"):
        OpenAIConfig(base_url=bad)


def test_an_engine_that_is_not_open_says_so() -> None:
    with pytest.raises(EngineError, match="not open"):
        list(OpenAIEngine(OpenAIConfig()).generate(requests(1)))


def test_it_scores_nothing() -> None:
    with pytest.raises(Unsupported):
        OpenAIEngine(OpenAIConfig()).logprobs([([1], [2])])


def test_another_served_model_is_another_digest_and_another_address_is_not() -> None:
    plain = semantic(OpenAIConfig())
    assert semantic(OpenAIConfig(model="another")) != plain
    assert semantic(OpenAIConfig(base_url="http://127.0.0.1:9/v1", concurrency=2)) == plain


def test_a_preset_gives_what_the_recipe_leaves_open_and_no_more() -> None:
    hosted = OpenAIConfig.model_validate({"preset": "openai", "api_key_env": "MINE"})
    assert (hosted.base_url, hosted.mode, hosted.api_key_env) == ("https://api.openai.com/v1", "chat", "MINE")
    assert (hosted.sent_fields(), hosted.max_tokens_field) == ((), "max_completion_tokens")
    again = OpenAIConfig.model_validate(hosted.model_dump(mode="json"))
    assert again == hosted, "as a run keeps it"
    plain = OpenAIConfig.model_validate({"preset": "vllm"})
    assert semantic(plain) == semantic(OpenAIConfig())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_config_and_sends_what_its_server_documents(preset: str) -> None:
    known = OpenAIConfig.model_validate({"preset": preset})
    messages = ({"role": "user", "content": "Hi"},)
    request = Request("r", "m_base", [1], SAMPLING, messages=messages)
    sent = openai_wire.chat_body(request, "m", 1, known.sent_fields(), known.max_tokens_field)
    assert set(VENDOR_FIELDS) & sent.keys() == set(known.sent_fields())
    assert known.max_tokens_field in sent


def test_an_empty_list_of_servers_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no server"):
        OpenAIConfig.model_validate({"base_urls": []})


def test_a_preset_without_token_ids_is_not_asked_for_them() -> None:
    with pytest.raises(ValidationError, match="takes no token ids"):
        OpenAIConfig.model_validate({"preset": "ollama", "mode": "tokens"})


def test_a_sampling_that_a_server_cannot_be_told_fails_and_is_not_left_out(endpoint: Any) -> None:
    sampling = Sampling(max_tokens=16, top_k=20)
    request = Request("r", "m_base", [1], sampling, messages=({"role": "user", "content": "Hi"},))
    with endpoint() as server:
        done = ask(server, [request], mode="chat", vendor_fields=False)
        assert error_class(done["r"]) == "Unsupported"
        assert server.calls == 0
        assert error_class(ask(server, [request], mode="chat", vendor_fields=["top_k"])["r"]) == ""
    assert server.bodies[0]["top_k"] == 20
