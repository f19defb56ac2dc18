"""`ratoon serve`: only the policy that was asked for is loaded, only who may asks, and no server is left behind.

The servers are a stand-in that lists its names as vLLM does; what is asked of vLLM itself is in the engines' contract.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratoon.engine import Policy
from ratoon.errors import EngineError, ModelError, NotServed, UsageError
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.pipelines.serving.replicas import Replicas
from ratoon.pipelines.serving.serve import serve
from ratoon.pipelines.serving.target import Served, asked_for, target
from ratoon.sft.models import policy as policies
from ratoon.sft.models.tiny import make_tiny

SERVER = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": name} for name in sys.argv[2:]], "key": os.environ.get("VLLM_API_KEY")}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(served: Served, host: str, port: int) -> list[str]:
    return [sys.executable, "-c", SERVER, str(port), *served.names]


def free_ports(n: int) -> int:
    """The first of `n` ports in a row that are free."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            for place in range(1, n):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + place))
            return int(port)


def trained(folder: Path, policy_id: str, seed: int) -> Policy:
    """A tiny policy as a training writes it."""
    make_tiny(folder, seed)
    made = replace(policies.base_manifest(folder, "t", "c"), policy_id=policy_id, kind="full", iteration=1)
    policies.write_manifest(folder, made)
    return policies.as_policy(made, folder)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return trained(tmp_path_factory.mktemp("one") / "1", "m_one", 1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return trained(tmp_path_factory.mktemp("two") / "2", "m_two", 2)


@contextlib.contextmanager
def served(policy: Policy, logs: Path, token: str = "") -> Iterator[int]:
    """The agent's port of a `serve` in a process of its own, which Ctrl-C ends."""
    port = free_ports(3)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_serving import command\n"
        "from pathlib import Path; from ratoon.pipelines.serving.serve import serve\n"
        f"serve({policy.path!r}, replicas=2, port={port}, logs=Path({str(logs)!r}), command=command)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"RATOON_TOKEN": token}, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: ask(port, token=token)[1].get("state") == "ready")
        yield port
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not any(map(answers, (port, port + 1, port + 2)))


def wait_for(happened: Any) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def answers(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, wish: Any = None, token: str = "") -> tuple[int, dict[str, Any]]:
    """Status and answer of the agent; 0 where nothing listens."""
    path, data = ("/ratoon", None) if wish is None else ("/ratoon/policy", json.dumps(wish).encode())
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except urllib.error.URLError:
        return 0, {}


def wish_for(policy: Policy) -> dict[str, str]:
    digest = policies.weights_digest(Path(policy.path))
    return {"policy_id": policy.policy_id, "path": policy.path, "weights_digest": digest}


@pytest.fixture(scope="module")
def agent(one: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an agent that wants a token; it serves the first policy until a test has it load the second."""
    with served(one, tmp_path_factory.mktemp("logs"), token="secret") as port:
        yield port


def test_another_policy_than_the_one_asked_for_is_not_loaded(agent: int, two: Policy, tmp_path: Path) -> None:
    wrong = [
        wish_for(two) | {"weights_digest": "0" * 32},
        wish_for(two) | {"policy_id": "m_other"},
        wish_for(two) | {"path": str(tmp_path)},
    ]
    assert [ask(agent, wish, "secret")[0] for wish in wrong] == [409, 409, 409]
    malformed: list[Any] = [{}, [], {"policy_id": 1, "path": 2, "weights_digest": 3}]
    assert [ask(agent, wish, "secret")[0] for wish in malformed] == [400, 400, 400]
    assert ask(agent, token="secret")[1]["state"] == "ready"


def test_without_the_token_nobody_is_answered_and_the_servers_want_it_too(agent: int, two: Policy) -> None:
    assert ask(agent)[0] == 401
    assert ask(agent, wish_for(two), token="guess")[0] == 401
    assert ask(agent, token="secret")[0] == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{agent + 1}/v1/models") as answer:
        assert json.loads(answer.read())["key"] == "secret"


def test_a_runs_next_policy_is_loaded_and_named_before_it_is_asked(
    agent: int, one: Policy, two: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATOON_TEST_TOKEN", "secret")
    urls = [f"http://127.0.0.1:{agent + i}/v1" for i in (1, 2)]
    config = {"base_urls": urls, "agents": [f"http://127.0.0.1:{agent}"], "api_key_env": "RATOON_TEST_TOKEN", "max_retries": 0}
    with OpenAIEngine(OpenAIConfig.model_validate(config)) as engine:
        engine.use(one)
        with pytest.raises(NotServed, match="loading"):
            engine.use(two)
        ready = {"policy_id": "m_two", "state": "ready", "reason": "", "servers": urls}
        wait_for(lambda: ask(agent, token="secret")[1] == ready)
        engine.use(two)


def test_other_machines_may_ask_only_with_a_token(one: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATOON_TOKEN", raising=False)
    with pytest.raises(UsageError, match="holds no token"):
        serve(one.path, host="0.0.0.0")


def test_only_a_run_can_be_followed(one: Policy) -> None:
    with pytest.raises(UsageError, match="--follow"):
        serve(one.path, follow=True)


def test_weights_that_were_changed_are_not_served(one: Policy, tmp_path: Path) -> None:
    changed = trained(tmp_path / "1", "m_one", 1)
    weights = tmp_path / "1" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="digest"):
        target(changed.path)
    with pytest.raises(ModelError, match="digest"):
        asked_for("m_one", changed.path, policies.weights_digest(Path(one.path)))


def test_pickled_weights_are_not_served(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        target(str(folder))


def test_a_server_that_ended_is_started_again_and_closing_ends_all(one: Policy, tmp_path: Path) -> None:
    served = Served(one.policy_id, Path(one.path))
    replicas = Replicas(command, "127.0.0.1", free_ports(2), 2, tmp_path, rest_s=0)
    try:
        replicas.load(served, patience_s=60)
        before = replicas.pids()
        os.kill(before[0], 9)
        ports: list[int] = []
        wait_for(lambda: ports or ports.extend(replicas.revive()))
        assert len(ports) == 1
        assert replicas.pids()[1] == before[1]
        pids = replicas.pids()
    finally:
        replicas.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(one: Policy, tmp_path: Path) -> None:
    def broken(served: Served, host: str, port: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no memory')"]

    replicas = Replicas(broken, "127.0.0.1", free_ports(1), 1, tmp_path)
    with pytest.raises(EngineError) as caught:
        replicas.load(Served(one.policy_id, Path(one.path)), patience_s=60)
    assert "no memory" in caught.value.hint
    replicas.close()


def test_closing_ends_a_load_that_is_under_way(one: Policy, tmp_path: Path) -> None:
    def silent(served: Served, host: str, port: int) -> list[str]:
        return ["sleep", "60"]

    replicas = Replicas(silent, "127.0.0.1", free_ports(1), 1, tmp_path)
    threading.Timer(0.5, replicas.close).start()
    with pytest.raises(EngineError):
        replicas.load(Served(one.policy_id, Path(one.path)), patience_s=60)
