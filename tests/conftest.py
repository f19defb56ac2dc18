"""Quiet, offline and on its own: set before any test imports a library that reads these."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings

from ratoon.generators.engines import EngineConfig, child, open_engine
from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.machine.processor import computed_in
from ratoon.pipelines.flows.runner import prefect_environment
from ratoon.sft.models.smollm2 import prepare
from ratoon.sft.training import launch
from ratoon.sft.training.callbacks import PROGRESS
from ratoon.sft.training.job import Job

# Caches of the session's own: what a machine was used for before must not reach a test.
_OWN = Path(tempfile.mkdtemp(prefix="ratoon-tests-"))
atexit.register(shutil.rmtree, _OWN, ignore_errors=True)

os.environ.update(
    PREFECT_HOME=str(_OWN / "prefect"),
    RATOON_STATE=str(_OWN / "state"),
    HF_HOME=str(_OWN / "huggingface"),
    HF_DATASETS_CACHE=str(_OWN / "huggingface" / "datasets"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="passive",  # torch's threads sleep at a barrier: two that spin halve each other's core
    VLLM_NO_USAGE_STATS="1",
)
os.environ.pop("PREFECT_API_URL", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell in the background: children would never hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

_STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-goldens", action="store_true", help="keep today's digests in tests/data/goldens.json")
    parser.addoption("--limit", type=float, metavar="MINUTES", help="fail when all the tests took longer than this")


def pytest_configure(config: pytest.Config) -> None:
    # pytest 9.1 loses a folder's conftest.py where a file of its parent is named between two of its files (issue 14971).
    config.args.sort()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one engine, one finished run or one file go to one worker, so that each is made once; the long ones go first."""
    wanted: dict[Path, set[str]] = defaultdict(set)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        wanted[item.path].update(fixtures)
        if "prefect_server" in fixtures:
            item.add_marker(pytest.mark.prefect)
        if item.get_closest_marker("gpu") and not any(Path("/dev").glob("nvidia[0-9]*")):
            item.add_marker(pytest.mark.skip(reason="no GPU"))
    groups = {path: _group(path.name, fixtures) for path, fixtures in wanted.items()}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.path]))
    items.sort(key=lambda item: _ORDER.get(groups[item.path], len(_ORDER)))


def _group(name: str, fixtures: set[str]) -> str:
    if fixtures & {"vllm_engine", "vllm_server"} or name == "test_contract.py":  # which asks for them by name
        return "engine"
    return "smoke" if "smoke_run" in fixtures else name


@pytest.hookimpl(trylast=True)  # after xdist has ended its workers, whose processor time counts
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long the tests took, and whether that is more than `--limit` allows."""
    minutes, limit = (time.monotonic() - _STARTED) / 60, config.getoption("limit")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    busy = sum(usage.ru_utime + usage.ru_stime for usage in used) / 60
    line = f"{minutes:.1f} minutes of wall time, {busy:.1f} of processor time, on {os.cpu_count()} cores"
    if limit is not None and minutes > limit:
        line = f"TOO SLOW: {line}; the limit is {limit:g} minutes of wall time (see the slowest above; is the machine busy?)"
    terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    limit = session.config.getoption("limit")
    if limit is not None and (time.monotonic() - _STARTED) / 60 > limit and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_LONG = ("engine", "smoke", "test_schedule.py", "test_kill.py", "test_launch.py", "test_browser.py", "test_stop.py",
         "test_faults.py", "test_consensus.py", "test_nft_training.py", "test_nft_run.py", "test_goldens.py",
         "test_real_training.py", "test_bad_input.py", "test_overhead.py", "test_qdc.py")  # fmt: skip
_ORDER = {name: place for place, name in enumerate(_LONG)}


@pytest.fixture(scope="session")
def full_size() -> bool:
    """Whether a test marked `soak` runs at its full size."""
    return bool(os.environ.get("RATOON_SOAK"))


def train_in_this_process(job: Job, on_progress: Callable[[launch.Progress], None], on_start: object) -> None:
    """What the training process does, without the ten seconds in which a new one imports torch and transformers."""
    import torch

    from ratoon.sft.training import process

    work, threads = Path(job.work), torch.get_num_threads()
    launch._refuse_another(job)
    (work / "job.json").write_text(job.to_json(), encoding="utf-8")
    (work / PROGRESS).touch()
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    with (work / PROGRESS).open(encoding="utf-8") as lines, Path(job.log).open("a", encoding="utf-8") as log:
        lines.seek(0, os.SEEK_END)
        with child.environment(launch._environment(job)), contextlib.redirect_stdout(log):
            process.run(job)
        torch.set_num_threads(threads)
        for line in lines:
            on_progress(launch.Progress(**json.loads(line)))


@pytest.fixture(scope="session")
def training_here() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """`with training_here():` trains in this process; that it works in one of its own is for tests/sft/training."""

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "_run", train_in_this_process)
            yield

    return patched


@pytest.fixture
def trained_here(training_here: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """The whole test trains in this process."""
    with training_here():
        yield


@pytest.fixture(scope="session")
def endpoint() -> Any:
    """`with endpoint(lambda body, asked: "ok") as server:`, an OpenAI-compatible server that behaves as told."""
    path = Path(__file__).parent / "generators" / "engines" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Endpoint


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The packaged model's folder, fetched and converted on the first run of this machine."""
    return prepare()


@pytest.fixture(scope="session")
def vllm_engine(smollm2: Path) -> Iterator[VllmEngine]:
    """The one vLLM engine of the whole session; each test calls `use` with the policy it needs."""
    config = VllmConfig(args={"max_model_len": 512, "max_num_seqs": 32, "kv_cache_memory_bytes": 1 << 30})
    with open_engine(EngineConfig(kind="vllm", vllm=config), seed=0) as engine:
        yield cast(VllmEngine, engine)


@pytest.fixture(scope="session")
def vllm_server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real vLLM HTTP server on loopback; it serves the packaged model as the policies m_one and m_two."""
    port = _free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm2), "--host", "127.0.0.1",
        "--port", str(port), "--served-model-name", "m_one", "m_two", "--dtype", computed_in("bfloat16", on_cpu=True),
        "--max-model-len", "512", "--max-num-seqs", "32", "--enforce-eager", "--logprobs-mode", "processed_logprobs",
        "--generation-config", "vllm",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "server.log"
    environment = child.variables(str(smollm2)) | {"VLLM_CPU_KVCACHE_SPACE": "1"} | os.environ
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, start_new_session=True, preexec_fn=_die_with_parent
        )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/v1/models", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _end(server)  # with the engine's own process


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The API URL of the session's one Prefect server, for tests that run flows in this process or in another."""
    base, worker = tmp_path_factory.getbasetemp(), "PYTEST_XDIST_WORKER" in os.environ
    home, session = (base.parent, os.getppid()) if worker else (base, os.getpid())
    home /= "prefect-server"
    home.mkdir(exist_ok=True)
    told = home / "url"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the worker that comes first starts it, the others wait here
        if not told.exists():
            told.write_text(_started_prefect_server(home, session))
    return told.read_text()


# The server of all workers lives as long as the process that started them. Web server only: its schedulers and reapers would
# poll all session long, and no test needs them.
_PREFECT = """
import os, sys, threading, time, psutil, uvicorn
def end_with(session):
    while psutil.pid_exists(session):
        time.sleep(1)
    os._exit(0)
threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
create = "prefect.server.api.server:create_app"
uvicorn.run(create, factory=True, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""


def _started_prefect_server(home: Path, session: int) -> str:
    port, log = _free_port(), home / "server.log"
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT__SERVER_WEBSERVER_ONLY": "true"}
    command = [sys.executable, "-c", _PREFECT, str(session), str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/api/health", server, log)
    except BaseException:
        _end(server)
        raise
    return f"http://127.0.0.1:{port}/api"


@pytest.fixture(scope="session")
def prefect_here(prefect_server: str) -> Iterator[None]:
    """Flows of this process run on the session's server."""
    prefect_environment()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield


@pytest.fixture(scope="session")
def cli(prefect_server: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`cli("run", "smoke", …)`: the command line in a process of its own, its flows on the session's server."""
    environment = os.environ | {"PREFECT_API_URL": prefect_server, "NO_COLOR": "1", "COLUMNS": "120"}

    def call(*arguments: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ratoon", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout, check=False)

    return call


@pytest.fixture(scope="session")
def smoke_run(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of `ratoon run smoke`, unbroken. Read it; to change it, copy it."""
    root = tmp_path_factory.mktemp("runs") / "smoke"
    done = cli("run", "smoke", "--run", root, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "try next" in done.stdout
    return root


def _die_with_parent() -> None:
    """In a child before its program starts: a session that is killed leaves no server behind (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and its children: all of its own session."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:  # on a busy machine this takes minutes; the test's own time-out is the limit
        try:
            with direct.open(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server did not start:\n" + log.read_text(errors="replace")[-2000:])


# A busy machine is no failed property; in CI the examples are the same each time, elsewhere they are new.
settings.register_profile("ratoon", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ratoon")
