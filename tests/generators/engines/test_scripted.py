"""The scripted engine keeps its plan: planted shares, determinism, lengths, errors, delays, one death."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.errors import EngineDead, Unsupported
from ratoon.generators.engines.scripted import Plant, ScriptedConfig, ScriptedEngine
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny

END = 258
BASE = Policy("m_base", "somewhere")
SAMPLING = Sampling(max_tokens=100, stop_token_ids=(END,))
PLANTS = {f"t{i}": Plant("sum" if i % 2 else "product", str(i)) for i in range(100)} | {"word": Plant("word", "blue")}


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(make_tiny(tmp_path_factory.mktemp("scripted") / "tiny"))


def requests(n: int, sampling: Sampling = SAMPLING, task: str | None = None, policy: str = "m_base") -> list[Request]:
    return [Request(f"r_{i:024x}", policy, [1, 2, 3], sampling, task_id=task or f"t{i % 100}") for i in range(n)]


def ask(renderer: Renderer, config: ScriptedConfig, asked: list[Request], policy: Policy = BASE) -> list[Completion]:
    with ScriptedEngine(config, renderer, PLANTS) as engine:
        engine.use(policy)
        return list(engine.generate(asked))


def text_of(renderer: Renderer, completion: Completion) -> str:
    return renderer.decode(completion.token_ids)


def last_number(text: str) -> str | None:
    found = re.findall(r"-?\d+", text)
    return found[-1] if found else None


def share_right(renderer: Renderer, asked: list[Request], done: list[Completion]) -> float:
    answers = {r.request_id: PLANTS[r.task_id or ""].answer for r in asked}
    return sum(c.finish_reason == "stop" and last_number(text_of(renderer, c)) == answers[c.request_id] for c in done) / len(
        asked
    )


def test_the_same_request_gets_the_same_reply_in_any_order_and_process(renderer: Renderer) -> None:
    config = ScriptedConfig(truncated=0.1, unparsed=0.1)
    once = {c.request_id: c for c in ask(renderer, config, requests(200))}
    again = {c.request_id: c for c in ask(renderer, config, requests(200)[::-1])}
    assert once == again


@pytest.mark.parametrize(
    ("rate", "gain", "iteration", "expected"), [(0.3, 0.0, 2, 0.3), (0.3, 0.2, 2, 0.7), (0.9, 0.5, 1, 0.95)]
)
def test_the_pass_rate_is_the_planted_one_with_its_gain_up_to_the_cap(
    renderer: Renderer, rate: float, gain: float, iteration: int, expected: float
) -> None:
    config = ScriptedConfig(pass_rate={"*": rate}, gain_per_iteration=gain, max_pass_rate=0.95)
    asked = requests(4000)
    done = ask(renderer, config, asked, Policy("m_base", "x", iteration))
    assert share_right(renderer, asked, done) == pytest.approx(expected, abs=0.03)


def test_a_family_has_its_own_rate_and_the_star_is_for_the_others(renderer: Renderer) -> None:
    config = ScriptedConfig(pass_rate={"sum": 1.0, "*": 0.0})
    for task, expected in (("t7", 1.0), ("t8", 0.0)):
        asked = requests(100, task=task)
        assert share_right(renderer, asked, ask(renderer, config, asked)) == expected


def test_shares_of_cut_and_unparsed_replies_are_as_planted(renderer: Renderer) -> None:
    done = ask(renderer, ScriptedConfig(pass_rate={"*": 0.4}, truncated=0.2, unparsed=0.1), requests(4000))
    cut = [c for c in done if c.finish_reason == "length"]
    lost = [c for c in done if last_number(text_of(renderer, c)) is None]
    assert len(cut) / 4000 == pytest.approx(0.2, abs=0.02)
    assert len(lost) / 4000 == pytest.approx(0.1, abs=0.02)


def test_only_a_finished_reply_ends_with_the_end_of_turn_id(renderer: Renderer) -> None:
    done = ask(renderer, ScriptedConfig(truncated=0.3), requests(500))
    assert {c.finish_reason for c in done} == {"stop", "length"}
    for c in done:
        assert (c.token_ids[-1] == END) == (c.finish_reason == "stop")
        assert END not in c.token_ids[:-1]
        assert len(c.token_ids) == 100 if c.finish_reason == "length" else len(c.token_ids) <= 100


def test_a_reply_that_does_not_fit_is_cut_at_max_tokens(renderer: Renderer) -> None:
    for limit in (1, 5):
        done = ask(renderer, ScriptedConfig(styles=("The answer is {answer}.",)), requests(20, Sampling(max_tokens=limit)))
        assert all(c.finish_reason == "length" and len(c.token_ids) == limit for c in done)


def test_log_probs_are_one_per_token_and_negative_and_absent_when_not_asked_for(renderer: Renderer) -> None:
    for c in ask(renderer, ScriptedConfig(truncated=0.2), requests(300, Sampling(max_tokens=5000))):
        assert c.logprobs is not None
        assert len(c.logprobs) == len(c.token_ids)
        assert max(c.logprobs) < 0
        assert c.logprob_source == "scripted"
    (none,) = ask(renderer, ScriptedConfig(), requests(1, Sampling(logprobs_mode="none")))
    assert none.logprobs is None
    assert none.logprob_source is None


def test_fixed_tokens_gives_every_finished_reply_that_many_and_keeps_the_answer(renderer: Renderer) -> None:
    asked = requests(400)
    done = ask(renderer, ScriptedConfig(pass_rate={"*": 1.0}, max_pass_rate=1.0, fixed_tokens=90), asked)
    assert Counter(len(c.token_ids) for c in done) == {90: 400}
    assert share_right(renderer, asked, done) == 1.0


def test_an_answer_that_is_no_number_is_worded_and_missed_too(renderer: Renderer) -> None:
    asked = requests(200, task="word")
    texts = [text_of(renderer, c) for c in ask(renderer, ScriptedConfig(pass_rate={"*": 0.5}), asked)]
    right = [t for t in texts if re.search(r"blue(\W|$)", t)]
    assert len(right) / 200 == pytest.approx(0.5, abs=0.12)
    assert not any("{" in t for t in texts)


def test_replies_of_one_task_differ_in_their_wording(renderer: Renderer) -> None:
    done = ask(renderer, ScriptedConfig(pass_rate={"*": 1.0}), requests(60, task="t7"))
    assert len({text_of(renderer, c) for c in done}) > 10


def test_planted_errors_are_failed_completions_and_the_rest_goes_on(renderer: Renderer) -> None:
    done = ask(renderer, ScriptedConfig(errors=0.25), requests(2000))
    errors = [c for c in done if c.error]
    assert len(done) == 2000
    assert len(errors) / 2000 == pytest.approx(0.25, abs=0.04)
    assert all(c.error == "Planted: a planted error" and c.token_ids == () and c.finish_reason == "error" for c in errors)


def test_without_errors_the_other_replies_are_the_same_ones(renderer: Renderer) -> None:
    shaky = {c.request_id: c for c in ask(renderer, ScriptedConfig(errors=0.25), requests(200)) if not c.error}
    steady = {c.request_id: c for c in ask(renderer, ScriptedConfig(), requests(200))}
    assert shaky.items() <= steady.items()


def test_a_request_of_another_policy_or_beyond_the_context_fails_alone(renderer: Renderer) -> None:
    good, foreign, long = requests(3)
    foreign = Request(foreign.request_id, "m_other", [1], SAMPLING, task_id="t1")
    long = Request(long.request_id, "m_base", [1] * 51, SAMPLING, task_id="t1")
    done = ask(renderer, ScriptedConfig(context_tokens=150), [good, foreign, long])
    assert [(c.error or "").partition(":")[0] for c in done] == ["", "WrongPolicy", "PromptTooLong"]


def test_delayed_replies_come_in_the_order_they_end_and_the_waits_overlap(renderer: Renderer) -> None:
    started = time.monotonic()
    done = ask(renderer, ScriptedConfig(delay_s=0.02, max_running=32), requests(64))
    wall = time.monotonic() - started
    total = sum(c.seconds or 0.0 for c in done)
    assert {c.request_id for c in done} == {r.request_id for r in requests(64)}
    assert [c.request_id for c in done] != [r.request_id for r in requests(64)]
    assert wall < 0.8 * total


def test_callers_share_the_slots(renderer: Renderer) -> None:
    with ScriptedEngine(ScriptedConfig(delay_s=0.02, delay="constant", max_running=4), renderer, PLANTS) as engine:
        engine.use(BASE)
        started = time.monotonic()
        threads = [threading.Thread(target=lambda: list(engine.generate(requests(8)))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.monotonic() - started >= 16 / 4 * 0.02 * 0.9


def test_one_death_costs_a_second_asking_and_changes_no_reply(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    with ScriptedEngine(ScriptedConfig(dies_after=5), renderer, PLANTS, path) as engine:
        engine.use(BASE)
        replies = list(engine.generate(requests(20)))
    assert replies == ask(renderer, ScriptedConfig(), requests(20))
    asked = path.read_text().splitlines()
    assert len(asked) == 21
    assert asked[5] == asked[6]


def test_a_second_death_fails_its_caller_and_no_other(renderer: Renderer) -> None:
    with ScriptedEngine(ScriptedConfig(dies_after=5, deaths=2), renderer, PLANTS) as engine:
        engine.use(BASE)
        with pytest.raises(EngineDead, match="after 5 requests"):
            list(engine.generate(requests(20)))
        assert len(list(engine.generate(requests(20)))) == 20


def test_every_request_is_in_the_log_before_it_is_answered(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "requests.log"
    with ScriptedEngine(ScriptedConfig(), renderer, PLANTS, path) as engine:
        engine.use(BASE)
        for n, completion in enumerate(engine.generate(requests(10)), 1):
            lines = path.read_text().splitlines()
            assert len(lines) == n
            assert lines[-1] == completion.request_id


def test_tasks_may_be_planted_while_it_runs(renderer: Renderer) -> None:
    plants: dict[str, Plant] = {}
    with ScriptedEngine(ScriptedConfig(pass_rate={"*": 1.0}), renderer, plants) as engine:
        engine.use(BASE)
        (unknown,) = engine.generate(requests(1, task="new"))
        plants["new"] = Plant("sum", "41")
        (known,) = engine.generate(requests(1, task="new"))
    assert last_number(text_of(renderer, unknown)) is None
    assert last_number(text_of(renderer, known)) == "41"


def test_it_scores_nothing(renderer: Renderer) -> None:
    with pytest.raises(Unsupported):
        ScriptedEngine(ScriptedConfig(), renderer, PLANTS).logprobs([([1], [2])])


@pytest.mark.parametrize("bad", [{"truncated": 1.2}, {"pass_rate": {"*": -0.1}}, {"styles": ()}, {"delay_s": -1}, {"gain": 1}])
def test_impossible_values_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScriptedConfig.model_validate(bad)
