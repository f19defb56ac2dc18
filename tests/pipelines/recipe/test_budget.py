"""A budget ends a run before it is passed, cleanly; what was done is kept and a higher one goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.config import parse
from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.errors import ConfigError, EngineDead, Interrupted, Stopped
from ratoon.pipelines.recipe.budget import BudgetConfig, PriceConfig, Spent, spent
from ratoon.pipelines.runtime.meter import Meter, MeteredEngine, signals
from ratoon.run import Run
from ratoon.store.store import Store

PRICES = {"prompt": 1.0, "sampled": 4.0}


@dataclass
class Window:
    """An engine with room for a few requests at once, which answers each with as many tokens as its id says."""

    room: int = 3
    name: str = "window"
    sent: list[str] = field(default_factory=list)
    after: Callable[[int], None] = lambda n: None

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def use(self, policy: Policy) -> None: ...

    def logprobs(self, sequences: Any) -> list[list[float]]:
        return []

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        source, running = iter(requests), list[Request]()
        while True:
            while len(running) < self.room and (request := next(source, None)) is not None:
                self.sent.append(request.request_id)
                running.append(request)
            if not running:
                return
            request = running.pop(0)
            n = int(request.request_id.partition("-")[2])
            self.after(len(self.sent))
            yield Completion(request.request_id, [1] * n, None, "stop")


def request(i: int, prompt: int, sampled: int, most: int = 10) -> Request:
    return Request(f"{i}-{sampled}", "p", [0] * prompt, Sampling(max_tokens=most))


def asked(meter: Meter, requests: list[Request], engine: Window | None = None) -> tuple[list[Completion], Stopped | None]:
    """What came back, and why it ended early."""
    got: list[Completion] = []
    try:
        for completion in MeteredEngine(engine or Window(), meter).generate(requests):
            got.append(completion)
    except Stopped as error:
        return got, error
    return got, None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10)), max_size=30), st.integers(0, 200), st.integers(1, 8))
def test_no_limit_on_tokens_is_ever_passed_and_what_fits_is_asked(rows: list[tuple[int, int]], limit: int, room: int) -> None:
    requests = [request(i, p, s) for i, (p, s) in enumerate(rows)]
    meter = Meter(BudgetConfig(max_tokens=limit), Spent())
    got, ended = asked(meter, requests, Window(room))
    assert meter.spent.tokens == sum(p + s for p, s in rows[: len(got)]) <= limit
    assert (ended is None) == (len(got) == len(rows))
    if ended is not None:
        assert meter.spent.tokens + rows[len(got)][0] + 10 > limit, "the next request really might have passed it"


def test_without_limits_everything_is_asked_in_order() -> None:
    engine = Window()
    got, ended = asked(Meter(BudgetConfig(), Spent()), [request(i, 1, 2) for i in range(20)], engine)
    assert ended is None
    assert len(got) == len(engine.sent) == 20


def test_a_cost_is_what_the_price_table_says_and_its_limit_is_never_passed() -> None:
    prices = PriceConfig(**PRICES)
    assert prices.cost(1_000_000, 500_000) == 3.0
    assert PriceConfig(prompt=1.0).cost(1, 1) is None
    meter = Meter(BudgetConfig(max_cost=1e-3, prices=prices), Spent())
    got, ended = asked(meter, [request(i, 10, 8) for i in range(100)])
    assert ended is not None
    assert "--max-cost" in ended.hint
    cost = prices.cost(meter.spent.prompt, meter.spent.sampled)
    assert cost is not None
    assert 0.0009 < cost <= 0.001
    assert len(got) == meter.spent.prompt // 10


def test_what_an_earlier_start_spent_counts() -> None:
    got, ended = asked(Meter(BudgetConfig(max_tokens=100), Spent(50, 45)), [request(0, 1, 1)])
    assert got == []
    assert ended is not None
    assert "95 of at most 100 tokens" in ended.message


def test_a_cost_limit_without_prices_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"budget\.prices"):
        parse(BudgetConfig, {"max_cost": 1.0}, "here")


def test_time_ends_what_would_be_begun_and_not_what_is_in_flight() -> None:
    meter = Meter(BudgetConfig(max_time_s=0.2), Spent())
    engine = Window(room=3, after=lambda n: time.sleep(0.25 if n == 6 else 0))
    got, ended = asked(meter, [request(i, 1, 1) for i in range(20)], engine)
    assert ended is not None
    assert "--max-time" in ended.hint
    assert len(got) == len(engine.sent) == 6


def test_a_second_signal_ends_the_process_at_once_whatever_its_threads_do() -> None:
    code = """
import signal, threading, time
from ratoon.pipelines.recipe.budget import BudgetConfig, Spent
from ratoon.pipelines.runtime.meter import Meter, signals
threading.Thread(target=time.sleep, args=(300,)).start()
with signals(Meter(BudgetConfig(), Spent()), lambda: print("last words", flush=True)):
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stdout == "last words\n"
    assert "once more ends at once" in done.stderr
    assert "ended at once" in done.stderr


def test_a_signal_ends_the_asking_after_what_is_in_flight() -> None:
    meter = Meter(BudgetConfig(), Spent())
    engine = Window(room=3, after=lambda n: signal.raise_signal(signal.SIGTERM) if n == 5 and not meter.interrupted else None)
    before = signal.getsignal(signal.SIGTERM)
    with signals(meter):
        got, ended = asked(meter, [request(i, 1, 1) for i in range(20)], engine)
        assert isinstance(ended, Interrupted)
        assert ended.exit_code == 128 + signal.SIGTERM
        assert len(got) == len(engine.sent) == 5
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_engine_that_a_signal_killed_too_is_an_interruption_and_no_failure() -> None:
    meter = Meter(BudgetConfig(), Spent())

    def die(n: int) -> None:
        meter.interrupt(signal.SIGINT)
        raise EngineDead("gone", "")

    with pytest.raises(Interrupted):
        list(MeteredEngine(Window(after=die), meter).generate([request(0, 1, 1)]))
    assert meter.spent == Spent()


def test_a_shard_waits_for_what_others_may_leave_over_and_takes_it() -> None:
    meter = Meter(BudgetConfig(max_tokens=22), Spent())
    held = request(0, 1, 0)
    assert meter.admit(held)  # another shard's, which may take 11 of the 22
    other = request(1, 1, 3)
    assert meter.admit(other)
    done: list[Completion] = []
    thread = threading.Thread(target=lambda: done.extend(asked(meter, [request(2, 1, 3)])[0]))
    thread.start()
    time.sleep(0.05)
    assert not done
    meter.settle(other, None)
    thread.join(5)
    assert len(done) == 1


def test_a_run_with_a_limit_stops_before_it_and_goes_on_with_a_higher_one_asking_nothing_twice(
    start: Callable[..., Any], here: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    told = start(root, flags=["--max-tokens", "1000"])
    assert told.code == 3, told.err
    assert "of at most 1,000 tokens" in told.err
    assert "--max-tokens" in told.err.split("→")[1]
    first = spent(Store.open(root)).tokens
    assert 500 < first <= 1000
    sent = (root / "logs" / "requests.log").read_text().split()
    assert sent
    assert start(root, flags=["--max-tokens", "1000"]).code == 3
    assert (root / "logs" / "requests.log").read_text().split() == sent, "nothing more is asked under the same limit"
    prices = [f"budget.prices.{name}={value}" for name, value in PRICES.items()]
    assert start(root, *prices).code == 0
    sent = (root / "logs" / "requests.log").read_text().split()
    assert len(sent) == len(set(sent))
    rollouts = Store.open(root).find("rollouts")
    assert spent(Store.open(root)).tokens == sum(m.counts.prompt_tokens + m.counts.sampled_tokens for m in rollouts)
    status = Run(root).status()
    told = status["spent"]
    assert told["cost"] == pytest.approx((told["prompt_tokens"] + 4 * told["sampled_tokens"]) / 1e6)
    stage = next(row for row in status["stages"] if row["stage"] == "rollouts")
    assert stage["yield"] == 1.0
    assert stage["cost"] == pytest.approx(told["cost"])


def test_a_round_asks_in_waves_until_enough_is_accepted_and_more_of_families_that_pass_more(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    more = ["run.iterations=1", "tasks.0.n=60", "tasks.1.n=60", "generate.tasks=12", "generate.n=2", "train.min_examples=1000"]
    rates = "engine.scripted.pass_rate={add=0.9,'*'=0.05}"
    told = start(root, *more, rates, flags=["--target-accepted", "22"])
    assert told.code == 3, told.err  # training is refused: the round was gathered
    store = Store.open(root)
    asked = [m for m in store.find("assign", 1) if (m.shard or "").startswith("train")]
    assert [m.shard for m in asked][:2] == ["train", "train+1"]
    passed = sum(m.extra["passed"] for m in store.find("scores", 1))
    assert passed >= 22
    later = store.read("assignments", asked[1:], columns=["arm"])["arm"].to_pylist()
    assert later.count("add") > 2 * later.count("max3") > 0
    assert start(root, *more, rates, flags=["--target-accepted", "1000"]).code == 3
    (last,) = [row for row in Run(root).rounds() if row["round"] == 1]
    assert passed < last["accepted"] < 1000, "all that four waves could get, and the run goes on with it"
