"""`ratoon chat`: each side hears its own history, a failed reply is told, and a stranger's server is not asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratoon.cli.app import app
from ratoon.errors import UsageError
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.serving.chat import Chat
from ratoon.store.store import Store


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the tiny model, not yet trained, before a chat server that answers "It is 7."."""
    recipe = Recipe.model_validate(
        {
            "tasks": [{"source": "arithmetic", "operation": "add", "n": 4}],
            "model": {"kind": "tiny-random"},
            "prompt": {"system": "Be brief."},
            "engine": {"kind": "openai", "openai": {"mode": "chat", "model": "m_base", "max_retries": 0}},
        }
    )
    with Store.writer(tmp_path / "run", {"shard_size": 1}) as store:
        store.put_config(recipe.model_dump(mode="json"))
    return tmp_path / "run"


def talk(run: Path, server: Any, said: str, *flags: str) -> Any:
    sets = [f"--set=engine.openai.base_url={server.url}"]
    return CliRunner().invoke(app, ["chat", str(run), *sets, *flags], input=said, catch_exceptions=False)


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def test_what_was_said_is_heard_again_until_it_starts_over(run: Path, endpoint: Any) -> None:
    with endpoint() as server:
        printed = talk(run, server, "What is 3 + 4?\nSure?\n/new\nHello\n").output
    assert printed.count("base> It is 7.") == 3
    first, second, third = server.bodies
    assert roles(first) == roles(third) == ["system", "user"]
    assert roles(second) == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == "It is 7."


def test_a_reply_that_failed_is_told_and_not_remembered(run: Path, endpoint: Any) -> None:
    with endpoint(lambda body, asked: "400" if len(body["messages"]) == 2 and not asked else "ok") as server:
        printed = talk(run, server, "One\nOne\n").output
    assert "BadRequest" in printed
    assert [roles(body) for body in server.bodies] == [["system", "user"]] * 2


def test_control_characters_of_a_reply_reach_no_terminal(run: Path, endpoint: Any) -> None:
    reply = {"choices": [{"message": {"content": "\x1b[2Jred"}, "finish_reason": "stop"}]}
    with endpoint(lambda body, asked: "json:" + json.dumps(reply)) as server:
        assert "base> red" in talk(run, server, "Hello\n").output


def test_a_server_that_the_run_itself_names_is_not_asked_unless_trusted(run: Path) -> None:
    with pytest.raises(UsageError, match="never used with this run"):
        Chat(run)
    with pytest.raises(UsageError, match="scripted"):
        Chat(run, sets=["engine.kind=scripted"])
