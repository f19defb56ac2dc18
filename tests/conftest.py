"""Quiet, offline and on its own: set before any test imports a library that reads these."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.sft.smollm2 import prepare

_PREFECT_HOME = tempfile.mkdtemp(prefix="ratoon-tests-prefect-")
atexit.register(shutil.rmtree, _PREFECT_HOME, ignore_errors=True)

os.environ.update(
    PREFECT_HOME=_PREFECT_HOME,
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    VLLM_NO_USAGE_STATS="1",
)
os.environ.pop("PREFECT_API_URL", None)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The packaged model's folder, fetched and converted on the first run of this machine."""
    return prepare()


@pytest.fixture(scope="session")
def vllm_engine(smollm2: Path) -> Iterator[VllmEngine]:
    """The one vLLM engine of the whole session; each test calls `use` with the policy it needs."""
    config = VllmConfig(args={"max_model_len": 512, "max_num_seqs": 32, "kv_cache_memory_bytes": 1 << 30})
    with VllmEngine(config, seed=0) as engine:
        yield engine


@pytest.fixture(scope="session")
def vllm_server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real vLLM HTTP server on loopback; it serves the packaged model as the policies m_one and m_two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm2), "--host", "127.0.0.1",
        "--port", str(port), "--served-model-name", "m_one", "m_two", "--dtype", "bfloat16", "--max-model-len", "512",
        "--max-num-seqs", "32", "--enforce-eager", "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "server.log"
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"} | os.environ
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/v1/models", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the session holds the engine's own process too
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(480):
        try:
            with direct.open(url, timeout=2):
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.5)
    pytest.fail("the vLLM server did not start:\n" + log.read_text(errors="replace")[-2000:])
