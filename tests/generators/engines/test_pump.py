"""The pump, driven by a small core that needs no model."""

from __future__ import annotations

import os
import threading

import pytest

from ratoon.engine import Completion, Request, Sampling, failed
from ratoon.errors import EngineDead, StoreError
from ratoon.generators.engines.pump import Pump
from ratoon.generators.engines.requestlog import RequestLog


class Counter:
    """Finishes the oldest request on each step; dies at the given steps; refuses prompts of no tokens."""

    def __init__(self, size: int = 4, deaths: tuple[int, ...] = ()) -> None:
        self.size, self.deaths = size, set(deaths)
        self.held: dict[str, Request] = {}
        self.steps = self.revivals = self.most = 0

    def window(self) -> int:
        return self.size

    def send(self, key: str, request: Request) -> Completion | None:
        if not request.prompt_token_ids:
            return failed(request, "Empty", "no prompt")
        self.held[key] = request
        self.most = max(self.most, len(self.held))
        return None

    def step(self) -> list[tuple[str, Completion]]:
        self.steps += 1
        if self.steps in self.deaths:
            raise RuntimeError("out of luck")
        key = next(iter(self.held))
        return [(key, Completion(self.held.pop(key).request_id, (1,), (-0.5,), "stop"))]

    def abort(self, keys: list[str]) -> None:
        for key in keys:
            del self.held[key]

    def revive(self) -> None:
        self.revivals += 1
        self.held.clear()


def requests(prefix: str, n: int, prompt: tuple[int, ...] = (1,)) -> list[Request]:
    return [Request(f"{prefix}{i}", "m", prompt, Sampling()) for i in range(n)]


def pump(core: Counter) -> Pump:
    return Pump(core, RequestLog(None))


def test_every_request_is_answered_once_and_the_window_is_never_exceeded():
    core = Counter(size=3)
    line = pump(core)
    assert sorted(c.request_id for c in line.generate(requests("a", 20))) == sorted(f"a{i}" for i in range(20))
    assert core.most == 3
    line.close()


def test_a_caller_that_stops_asking_waits_for_two_windows_at_most():
    core, pulled, answered = Counter(size=4), [], 0
    line = pump(core)

    def source():
        for request in requests("a", 100):
            if answered >= 10:
                return
            pulled.append(request.request_id)
            yield request

    for _ in line.generate(source()):
        answered += 1
        assert len(pulled) <= answered + 2 * core.size
    assert answered == len(pulled) <= 10 + 2 * core.size
    line.close()


def test_two_callers_get_their_own_answers():
    line = pump(Counter())
    got: dict[str, list[str]] = {}

    def ask(name: str) -> None:
        got[name] = [c.request_id for c in line.generate(requests(name, 50))]

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {name: set(ids) for name, ids in got.items()} == {n: {f"{n}{i}" for i in range(50)} for n in "ab"}
    line.close()


def test_a_request_that_cannot_be_answered_fails_alone():
    line = pump(Counter())
    asked = requests("a", 3) + requests("b", 1, prompt=())
    got = {c.request_id: c.error for c in line.generate(asked)}
    assert got == {"a0": None, "a1": None, "a2": None, "b0": "Empty: no prompt"}
    line.close()


def test_after_one_death_what_was_in_flight_is_asked_again(tmp_path):
    core = Counter(deaths=(3,))
    line = Pump(core, RequestLog(tmp_path / "log"))
    assert {c.request_id for c in line.generate(requests("a", 10))} == {f"a{i}" for i in range(10)}
    assert core.revivals == 1
    sent = (tmp_path / "log").read_text().split()
    assert sent[:2] == ["a0", "a1"], "what was answered before the death comes first"
    assert sent.count("a0") == sent.count("a1") == 1, "and is not asked twice"
    assert len(sent) == 14
    line.close()


def test_a_second_death_is_the_end_until_new_weights_come():
    core = Counter(deaths=(2, 4))
    line = pump(core)
    with pytest.raises(EngineDead, match="out of luck"):
        list(line.generate(requests("a", 10)))
    with pytest.raises(EngineDead):
        list(line.generate(requests("b", 1)))
    line.call(line.allow_revival)
    line.call(core.held.clear)
    assert [c.request_id for c in line.generate(requests("c", 1))] == ["c0"]
    assert core.revivals == 1
    line.close()


def test_a_job_waits_until_nothing_is_in_flight_and_its_error_reaches_the_caller():
    core = Counter()
    line = pump(core)
    answers = line.generate(requests("a", 10))
    next(answers)
    assert line.call(lambda: len(core.held)) == 0
    assert len(list(answers)) == 9
    with pytest.raises(ZeroDivisionError):
        line.call(lambda: 1 // 0)
    line.close()


def test_a_caller_that_leaves_early_takes_its_requests_along():
    core = Counter(size=2)
    line = pump(core)
    answers = line.generate(requests("a", 100_000))
    next(answers)
    answers.close()
    assert line.call(lambda: len(core.held)) == 0
    assert core.steps < 100_000
    line.close()


def test_a_request_log_that_cannot_be_written_is_the_callers_error_and_no_death(tmp_path):
    log = RequestLog(tmp_path / "log")
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._fd or -1)
    core = Counter()
    line = Pump(core, log)
    with pytest.raises(StoreError, match="log"):
        list(line.generate(requests("a", 3)))
    assert (core.steps, core.revivals) == (0, 0)
    line.close()


def test_a_closed_pump_says_so():
    line = pump(Counter())
    line.close()
    with pytest.raises(EngineDead, match="closed"):
        list(line.generate(requests("a", 1)))
