"""After a training a run waits for a server of the new policy: with the exact command, no longer than it was told."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ratoon.engine import Policy
from ratoon.errors import EngineError, Interrupted, Stopped
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.context import Context
from ratoon.progress import Progress
from ratoon.store.store import Store

TRAINED = Policy("m_round1", "/runs/x/policies/1", 1, "full")


def context(root: Path, server: Any, wait: float) -> Context:
    """A run of the tiny model before that server; the store is left open for as long as the test lasts."""
    engine = {"kind": "openai", "openai": {"base_url": server.url, "policy_wait_s": wait, "max_retries": 0}}
    recipe = Recipe.model_validate(
        {"tasks": [{"source": "arithmetic", "operation": "add", "n": 4}], "model": {"kind": "tiny-random"}, "engine": engine}
    )
    store = Store.writer(root, {"shard_size": 1}).__enter__()
    return Context(store, recipe, Progress(quiet=True))


def serve_once_asked(server: Any) -> None:
    while not server.listed:
        time.sleep(0.05)
    time.sleep(0.2)
    server.models = ("m_round1",)


def test_a_run_goes_on_once_its_new_policy_is_served(tmp_path: Path, endpoint: Any) -> None:
    with endpoint() as server, context(tmp_path / "run", server, 30) as ctx:
        threading.Thread(target=serve_once_asked, args=(server,)).start()
        ctx.engine(TRAINED)
    assert server.listed >= 2


def test_a_run_that_waited_long_enough_stops_with_the_command_and_can_go_on(tmp_path: Path, endpoint: Any) -> None:
    with endpoint() as server, context(tmp_path / "run", server, 0.1) as ctx, pytest.raises(Stopped) as caught:
        ctx.engine(TRAINED)
    assert caught.value.exit_code == 3
    port = server.url.split(":")[2].removesuffix("/v1")
    command = f"vllm serve {TRAINED.path} --served-model-name m_round1 --host 127.0.0.1 --port {port}"
    assert command in caught.value.hint
    assert "the same command goes on" in caught.value.hint


def test_a_base_that_nobody_serves_is_told_at_once(tmp_path: Path, endpoint: Any) -> None:
    with (
        endpoint(models=("other",)) as server,
        context(tmp_path / "run", server, 600) as ctx,
        pytest.raises(EngineError, match="serves other"),
    ):
        ctx.engine(Policy("m_base", "/models/base"))


def test_a_signal_ends_the_waiting(tmp_path: Path, endpoint: Any) -> None:
    with endpoint() as server, context(tmp_path / "run", server, 600) as ctx:
        threading.Timer(0.2, ctx.meter.interrupt, [15]).start()
        with pytest.raises(Interrupted):
            ctx.engine(TRAINED)
