"""What a server counted is what a budget spends: in chat mode, of failed attempts, and after a kill."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from ratoon.engine import Policy, Request, Sampling, Usage
from ratoon.errors import BudgetSpent
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.pipelines.recipe.budget import BudgetConfig, PriceConfig, Spent
from ratoon.pipelines.runtime.meter import Meter, MeteredEngine
from ratoon.pipelines.runtime.token_counts import token_counts

MESSAGES = ({"role": "user", "content": "What is 3 + 4?"},)
PRICES = PriceConfig(prompt=1.0, sampled=10.0)


def chat_requests(n: int) -> list[Request]:
    """`n` prompts, one sample each."""
    sampling = Sampling(max_tokens=16)
    return [Request(f"r_{i}", "m_base", [i], sampling, messages=({"role": "user", "content": str(i)},)) for i in range(n)]


def test_a_chat_server_that_counts_more_than_was_asked_passes_the_limit_by_one_request_a_slot(endpoint: Any) -> None:
    wordy = json.dumps(
        {
            "choices": [{"message": {"content": "7"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1000},
        }
    )
    config = {"mode": "chat", "concurrency": 4, "max_retries": 0}
    meter = Meter(BudgetConfig(max_cost=0.01, prices=PRICES), Spent())
    with endpoint(lambda body, asked: "json:" + wordy) as server:
        openai = OpenAIEngine(OpenAIConfig.model_validate(config | {"base_url": server.url}))
        with MeteredEngine(openai, meter) as engine:
            engine.use(Policy("m_base", "/models/base"))
            with pytest.raises(BudgetSpent):
                list(engine.generate(chat_requests(48)))
    a_request = PRICES.cost(10, 1000)
    assert a_request is not None
    cost = meter.spent.cost(PRICES)
    assert cost is not None
    assert cost == server.calls * a_request
    assert cost <= 0.01 + 4 * a_request


def test_a_failed_request_that_was_paid_for_is_spent(endpoint: Any) -> None:
    meter = Meter(BudgetConfig(max_tokens=10_000), Spent())
    config: dict[str, Any] = {"mode": "chat", "max_retries": 1, "backoff_s": 0.01}
    with endpoint(lambda body, asked: "half") as server:
        openai = OpenAIEngine(OpenAIConfig.model_validate(config | {"base_url": server.url}))
        with MeteredEngine(openai, meter) as engine:
            engine.use(Policy("m_base", "/models/base"))
            (completion,) = engine.generate(chat_requests(1))
    assert completion.error is not None
    assert meter.spent == Spent(2, 32)


def test_cached_prompt_tokens_have_their_own_price() -> None:
    assert PriceConfig(prompt=4.0, sampled=0.0, cached=1.0).cost(1_000_000, 0, cached=750_000) == 1.75
    assert PriceConfig(prompt=4.0, sampled=0.0).cost(1_000_000, 0, cached=750_000) == 4.0


def test_tokens_are_as_the_server_counted_them_else_by_the_ids() -> None:
    rollouts = pa.table(
        {
            "prompt_id": ["p_1", "p_1", "p_2"],
            "token_ids": pa.array([[1, 2, 3], None, None], pa.list_(pa.int32())),
            "meta": [None, '{"usage":{"prompt":7,"sampled":20,"cached":5,"assumed":0}}', None],
        }
    )
    prompts = pa.table({"prompt_id": ["p_1", "p_2"], "token_ids": pa.array([[1, 2], [1]], pa.list_(pa.int32()))})
    assert token_counts(rollouts, prompts) == Usage(2 + 7 + 1, 3 + 20, 5)
