"""One contract, every engine: what a completion holds, who fails, who may ask, which policy answers.

The scripted engine runs always; vLLM, transformers and a real vLLM HTTP server run the packaged model and are slow.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ratoon.engine import Completion, Engine, Policy, Request, Sampling
from ratoon.generators.engines import EngineConfig, open_engine
from ratoon.generators.engines.openai import OpenAIConfig
from ratoon.generators.engines.scripted import Plant, ScriptedConfig
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny

QUESTIONS = ["What is 3 + 4?", "Name a colour.", "Say yes.", "Which is larger, 7 or 12? Answer at length, with your reasons."]


@dataclass(frozen=True)
class Subject:
    """An open engine, the tokenizer of its model, and two policies it can serve."""

    engine: Engine
    renderer: Renderer
    one: Policy
    two: Policy

    def requests(self, tag: str, n: int, sampling: Sampling, policy: Policy | None = None) -> list[Request]:
        prompts = self.renderer.render([[{"role": "user", "content": question}] for question in QUESTIONS])
        policy_id = (policy or self.one).policy_id
        return [
            Request(f"{tag}_{i}", policy_id, prompts[i % len(prompts)], sampling, task_id=f"t{i % len(prompts)}")
            for i in range(n)
        ]

    def sampling(self, max_tokens: int, temperature: float = 1.0) -> Sampling:
        return Sampling(temperature=temperature, max_tokens=max_tokens, stop_token_ids=self.stops())

    def stops(self) -> tuple[int, ...]:
        """The end of turn, and some common tokens too, so that a small model's replies do end."""
        common = [self.renderer.encode(text)[0] for text in (".", ",", " the", " is", "\n")]
        return tuple(dict.fromkeys([*self.renderer.end_of_turn_ids, *common]))


def scripted(request: pytest.FixtureRequest) -> Iterator[Subject]:
    folder = make_tiny(request.getfixturevalue("tmp_path_factory").mktemp("contract") / "tiny")
    renderer = Renderer(folder)
    config = EngineConfig(kind="scripted", scripted=ScriptedConfig(truncated=0.3, context_tokens=2000, delay_s=0.001))
    plants = {f"t{i}": Plant("sum", str(i)) for i in range(len(QUESTIONS))}
    with open_engine(config, seed=0, renderer=renderer, plants=plants) as engine:
        yield Subject(engine, renderer, Policy("m_one", str(folder)), Policy("m_two", str(folder), 1))


def vllm(request: pytest.FixtureRequest) -> Iterator[Subject]:
    folder: Path = request.getfixturevalue("smollm2")
    engine = request.getfixturevalue("vllm_engine")
    yield Subject(engine, Renderer(folder), Policy("m_one", str(folder)), Policy("m_two", str(folder), 1))


def transformers(request: pytest.FixtureRequest) -> Iterator[Subject]:
    folder: Path = request.getfixturevalue("smollm2")
    with open_engine(EngineConfig(kind="transformers"), seed=0) as engine:
        yield Subject(engine, Renderer(folder), Policy("m_one", str(folder)), Policy("m_two", str(folder), 1))


def openai(request: pytest.FixtureRequest) -> Iterator[Subject]:
    folder: Path = request.getfixturevalue("smollm2")
    config = EngineConfig(kind="openai", openai=OpenAIConfig(base_url=request.getfixturevalue("vllm_server"), max_retries=0))
    with open_engine(config, seed=0) as engine:
        yield Subject(engine, Renderer(folder), Policy("m_one", str(folder)), Policy("m_two", str(folder), 1))


SUBJECTS = {"scripted": scripted, "vllm": vllm, "transformers": transformers, "openai": openai}


@pytest.fixture(
    scope="module", params=[name if name == "scripted" else pytest.param(name, marks=pytest.mark.slow) for name in SUBJECTS]
)
def opened(request: pytest.FixtureRequest) -> Iterator[Subject]:
    yield from SUBJECTS[request.param](request)


@pytest.fixture
def subject(opened: Subject) -> Subject:
    """Each test begins with the first policy in use."""
    opened.engine.use(opened.one)
    return opened


@pytest.fixture(scope="module")
def sampled(opened: Subject) -> list[tuple[Request, Completion]]:
    """Thirty-two replies at temperature 1, looked at from several sides."""
    opened.engine.use(opened.one)
    asked = {r.request_id: r for r in opened.requests("sampled", 32, opened.sampling(24))}
    return [(asked[c.request_id], c) for c in opened.engine.generate(asked.values())]


def test_every_request_comes_back_exactly_once_and_none_failed(sampled: list[tuple[Request, Completion]]) -> None:
    assert sorted(c.request_id for _, c in sampled) == sorted(f"sampled_{i}" for i in range(32))
    assert [c.error for _, c in sampled] == [None] * 32


def test_there_is_one_log_prob_per_token_with_its_source(sampled: list[tuple[Request, Completion]]) -> None:
    for _, c in sampled:
        assert c.logprobs is not None
        assert len(c.logprobs) == len(c.token_ids) > 0
        assert max(c.logprobs) <= 1e-6
        assert c.logprob_source


def test_a_reply_ends_with_a_stop_id_if_and_only_if_it_stopped(sampled: list[tuple[Request, Completion]]) -> None:
    assert {c.finish_reason for _, c in sampled} <= {"stop", "length"}
    assert any(c.finish_reason == "stop" for _, c in sampled)
    for asked, c in sampled:
        # The scripted engine's words do not know these stop ids: it ends a reply with the first one.
        stops = set(asked.sampling.stop_token_ids[: 1 if c.logprob_source == "scripted" else None])
        assert not stops & set(c.token_ids[:-1])
        assert (c.token_ids[-1] in stops) == (c.finish_reason == "stop")


def test_a_completion_says_how_long_its_prompt_was_and_how_long_it_took(sampled: list[tuple[Request, Completion]]) -> None:
    for asked, c in sampled:
        assert c.prompt_tokens == len(asked.prompt_token_ids)
        assert c.seconds is not None
        assert c.seconds >= 0


def test_a_reply_cut_by_length_has_exactly_max_tokens_and_no_end_of_turn(subject: Subject) -> None:
    for limit in (1, 7):
        asked = subject.requests(f"cut{limit}", 8, Sampling(max_tokens=limit, stop_token_ids=()))
        done = list(subject.engine.generate(asked))
        cut = [c for c in done if c.finish_reason == "length"]
        assert cut
        assert {len(c.token_ids) for c in cut} == {limit}


def test_no_log_probs_come_where_none_are_asked_for(subject: Subject) -> None:
    sampling = replace(subject.sampling(4), logprobs_mode="none")
    for c in subject.engine.generate(subject.requests("none", 2, sampling)):
        assert (c.error, c.logprobs, c.logprob_source) == (None, None, None)
        assert c.token_ids


def test_a_prompt_beyond_the_context_fails_alone(subject: Subject) -> None:
    good = subject.requests("good", 3, subject.sampling(4))
    long = Request("long", subject.one.policy_id, [5] * 9000, subject.sampling(4), task_id="t0")
    done = {c.request_id: c for c in subject.engine.generate([good[0], long, *good[1:]])}
    assert [done[r.request_id].error for r in good] == [None] * 3
    failed = done["long"]
    assert (failed.error or "").startswith("PromptTooLong: ")
    assert (list(failed.token_ids), failed.logprobs, failed.finish_reason) == ([], None, "error")


def test_a_request_of_a_policy_that_is_not_in_use_fails_alone(subject: Subject) -> None:
    good = subject.requests("here", 2, subject.sampling(4))
    foreign = subject.requests("foreign", 1, subject.sampling(4), subject.two)
    done = {c.request_id: c for c in subject.engine.generate([*foreign, *good])}
    assert (done["foreign_0"].error or "").startswith("WrongPolicy: ")
    assert [done[r.request_id].error for r in good] == [None, None]


def test_threads_may_ask_together_and_each_gets_its_own(subject: Subject) -> None:
    got: dict[str, list[Completion]] = {}

    def work(tag: str) -> None:
        got[tag] = list(subject.engine.generate(subject.requests(tag, 6, subject.sampling(8))))

    threads = [threading.Thread(target=work, args=(tag,)) for tag in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    for tag in ("left", "right"):
        assert sorted(c.request_id for c in got[tag]) == [f"{tag}_{i}" for i in range(6)]
        assert [c.error for c in got[tag]] == [None] * 6


def test_another_policy_answers_once_it_is_in_use(subject: Subject) -> None:
    subject.engine.use(subject.two)
    done = list(subject.engine.generate(subject.requests("second", 3, subject.sampling(4), subject.two)))
    assert [c.error for c in done] == [None] * 3
    (refused,) = subject.engine.generate(subject.requests("first", 1, subject.sampling(4)))
    assert (refused.error or "").startswith("WrongPolicy: ")


def test_nothing_asked_gives_nothing(subject: Subject) -> None:
    assert list(subject.engine.generate([])) == []
