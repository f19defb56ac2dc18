"""A run folder from elsewhere sends no secret anywhere; one that was started here goes on without a word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import UsageError
from ratoon.generators.engines import EngineConfig
from ratoon.pipelines.runtime import trust
from ratoon.sft.models.base_models import ModelConfig
from ratoon.sft.training.job import TrainConfig
from ratoon.store.store import Store

Start = Callable[..., Any]
SERVER = {"base_url": "https://theirs.example/v1", "api_key_env": "MY_OTHER_SECRET"}
CHAT = {"kind": "openai", "openai": SERVER | {"mode": "chat", "model": "base", "max_retries": 0}}
PLAIN = ["sampling.logprobs_mode=none", "suites.heldout.n=1", "suites.heldout.sampling={logprobs_mode='none'}"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATOON_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MY_OTHER_SECRET", "sesame")
    return tmp_path / "state"


def engine(**changes: Any) -> EngineConfig:
    return EngineConfig.model_validate({"kind": "openai", "openai": SERVER} | changes)


def rewrite(root: Path, **openai: Any) -> None:
    """Put another engine into the recipe inside a run, as a stranger could."""
    config = Store.open(root).config()
    (root / "config.json").write_text(json.dumps(config | {"engine": CHAT | {"openai": CHAT["openai"] | openai}}))


def test_a_strangers_recipe_reaches_its_server_only_with_trust_and_is_then_remembered(
    endpoint: Any, start: Start, here: Start, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    assert start(root, *PLAIN).code == 0
    with endpoint(models=("base",)) as server:
        rewrite(root, base_url=server.url)
        told = here("eval", root, "--quiet")
        assert told.code == 2
        assert f"engine.openai.base_url = {server.url!r}" in told.err
        assert "engine.openai.api_key_env = 'MY_OTHER_SECRET'" in told.err
        assert "--trust" in told.err.split("→")[1]
        assert here("eval", root, "--quiet", "--set", f"engine.openai.base_url={server.url!r}").code == 2, "whose secret?"
        assert (server.calls, server.listed) == (0, 0)
        assert here("eval", root, "--quiet", "--trust").code == 0
        assert {headers["authorization"] for headers in server.headers} == {"Bearer sesame"}
        assert here("eval", root, "--quiet").code == 0
        rewrite(root, base_url=server.url, api_key_env="PATH")
        assert here("eval", root, "--quiet").code == 2


def test_a_run_that_was_started_here_is_evaluated_without_a_word(
    endpoint: Any, start: Start, here: Start, tmp_path: Path
) -> None:
    root, moved = tmp_path / "run", tmp_path / "moved"
    with endpoint(models=("base",)) as server:
        mine = {"base_url": server.url, "api_key_env": "MY_OTHER_SECRET", "mode": "chat", "model": "base"}
        sets = [f"engine.openai.{name}={value!r}" for name, value in mine.items()]
        assert start(root, "engine.kind=openai", *sets, *PLAIN).code == 0
        assert here("eval", root, "--quiet").code == 0
        shutil.move(root, moved)
        assert here("eval", moved, "--quiet").code == 0


def test_what_is_remembered_is_one_run_with_one_server_and_one_secret(tmp_path: Path) -> None:
    trust.remember("x_1", trust.of_engine(engine()))
    trust.check(tmp_path, "x_1", trust.of_engine(engine()))
    others = [("x_2", engine()), ("x_1", engine(openai=SERVER | {"api_key_env": "PATH"})),
              ("x_1", engine(openai=SERVER | {"base_url": "https://other.example/v1"})),
              ("x_1", engine(openai={"base_url": SERVER["base_url"]}))]  # fmt: skip
    for run_id, other in others:
        with pytest.raises(UsageError, match="never used with this run"):
            trust.check(tmp_path, run_id, trust.of_engine(other))


@pytest.mark.parametrize("args", [{}, {"max_model_len": 512, "enforce_eager": True, "gpu_memory_utilization": 0.5}])
def test_arguments_of_vllm_that_only_size_it_are_not_asked_about(tmp_path: Path, args: dict[str, Any]) -> None:
    trust.check(tmp_path, "x_1", trust.of_engine(engine(kind="vllm", vllm={"args": args})))


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        ({"trust_remote_code": True}, "engine.vllm.args.trust_remote_code = True"),
        ({"max_model_len": 512, "distributed_executor_backend": "theirs.Executor"}, "= 'theirs.Executor'"),
        ({"\x1b[2J": "\ud800"}, r"engine.vllm.args.\x1b[2J = '\ud800'"),
    ],
)
def test_other_arguments_of_vllm_are_shown_and_refused_until_used(tmp_path: Path, args: dict[str, Any], asked: str) -> None:
    config = engine(kind="vllm", vllm={"args": args})
    with pytest.raises(UsageError) as refused:
        trust.check(tmp_path, "x_1", trust.of_engine(config))
    assert asked in refused.value.message
    trust.remember("x_1", trust.of_engine(config))
    trust.check(tmp_path, "x_1", trust.of_engine(config))


@pytest.mark.parametrize(
    ("sets", "all_given"),
    [
        ([], False),
        (["engine.openai.base_url=https://mine.example/v1"], False),
        (["engine.openai.base_url=https://mine.example/v1", "engine.openai.api_key_env=MINE"], True),
        (["engine.openai={base_url='https://mine.example/v1',api_key_env='MINE'}"], True),
        (["engine.openai.concurrency=1", "engine.kind=openai", "filters.0.k=1"], False),
    ],
)
def test_the_users_own_sets_are_trusted_where_they_give_all_that_is_asked_for(sets: list[str], all_given: bool) -> None:
    assert trust.all_given(trust.of_engine(engine()), sets) == all_given


def test_engines_that_ask_nothing_leave_no_record_and_a_home_that_takes_none_stops_nothing(state: Path, tmp_path: Path) -> None:
    trust.remember("x_1", trust.of_engine(EngineConfig(kind="scripted")))
    assert not state.exists()
    state.write_text("a file where a folder would be")
    trust.remember("x_1", trust.of_engine(engine()))
    with pytest.raises(UsageError, match="never used with this run"):
        trust.check(tmp_path, "x_1", trust.of_engine(engine()))


def test_a_strangers_model_folder_and_trackers_are_used_only_with_trust(tmp_path: Path) -> None:
    model = trust.of_model(ModelConfig(kind="path", path="/theirs"))
    tracked = trust.of_training(TrainConfig(report_to=("wandb",)))
    for claims, word in ((model, "model.path = '/theirs'"), (tracked, "train.report_to = ['wandb']")):
        with pytest.raises(UsageError) as refused:
            trust.check(tmp_path, "x_1", claims)
        assert word in refused.value.message
    trust.check(tmp_path, "x_1", model, given=["model.path=/theirs"])
    trust.remember("x_1", model)
    trust.check(tmp_path, "x_1", model)
    with pytest.raises(UsageError, match="report_to"):
        trust.check(tmp_path, "x_1", model, tracked)
    assert trust.of_model(ModelConfig()) == trust.of_training(TrainConfig()) == {}
