"""A schedule for real: a server of its own, firings, the run's page in a browser, pause and resume, a worker, a clean end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml

from ratoon.pipelines.flows.firings import firings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]


class Served(NamedTuple):
    """A schedule that is being served, and its server."""

    root: Path
    url: str
    process: subprocess.Popen[str]


def until(reached: Callable[[], Any], seconds: float = 240) -> Any:
    """What `reached` returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := reached():
            return found
        time.sleep(0.5)
    raise AssertionError("not reached in time")


def ask(url: str, **body: Any) -> Any:
    """A POST to the server's API."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


def ratoon(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", "ratoon", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, small: list[str]) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("scheduled") / "run"
    sets = [word for field in [*small[:-1], "train.min_examples=1"] for word in ("--set", field)]
    command = [sys.executable, "-m", "ratoon", "schedule", "smoke", "--every", "15s", "--run", str(root), *sets]
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    with (root.parent / "schedule.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment, start_new_session=True)
        try:
            note = until(
                lambda: (root / "logs" / "schedule.json").exists() and firings(root) and root / "logs" / "schedule.json"
            )
            yield Served(root, json.loads(note.read_text())["url"], process)
        finally:
            if process.poll() is None:
                left = psutil.Process(process.pid).children(recursive=True)
                for one in [psutil.Process(process.pid), *left]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait()


def test_a_schedule_fires_and_each_firing_adds_a_round(served: Served) -> None:
    first = firings(served.root)[0]
    assert (first["outcome"], first["rounds"]) == ("done", 1)
    assert "fired by its schedule" in ratoon("status", served.root)


def test_the_pages_have_the_round_table_the_funnel_and_typed_parameters(served: Served) -> None:
    keys = {artifact["key"] for artifact in ask(f"{served.url}/artifacts/filter")}
    assert {"ratoon-rounds", "ratoon-funnel"} <= keys
    (deployment,) = ask(f"{served.url}/deployments/filter")
    properties = deployment["parameter_openapi_schema"]["properties"]
    assert properties["each"]["enum"] == ["continue", "new"]
    assert "one that was left unfinished is finished first" in properties["rounds"]["description"]


def test_a_finished_round_is_an_event_that_an_automation_can_act_on(served: Served) -> None:
    wanted = {"filter": {"event": {"name": ["ratoon.round.finished"]}}}
    (event, *_) = until(lambda: ask(f"{served.url}/events/filter", **wanted)["events"], 60)
    assert event["payload"]["round"] >= 1
    assert event["resource"]["prefect.resource.id"].startswith("ratoon.run.")


def test_a_training_that_the_gate_refuses_is_an_event_with_its_reason(served: Served, small: list[str], tmp_path: Path) -> None:
    sets = [word for field in [*small, "run.iterations=1", "train.min_examples=1000"] for word in ("--set", field)]
    command = [sys.executable, "-m", "ratoon", "run", "smoke", "--run", str(tmp_path / "run"), "--quiet", *sets]
    done = subprocess.run(command, env=os.environ | {"PREFECT_API_URL": served.url}, capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    wanted = {"filter": {"event": {"name": ["ratoon.gate.refused"]}}}
    (event, *_) = until(lambda: ask(f"{served.url}/events/filter", **wanted)["events"], 60)
    told = event["payload"]
    assert (told["round"], told["reason"], told["limit"]) == (1, "examples", 1000)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser: sudo apt install chromium")
def test_the_runs_page_opens_in_a_browser(served: Served, tmp_path: Path) -> None:
    runs = ask(f"{served.url}/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
    (run,) = [run for run in runs if run["deployment_id"]][:1]
    page = f"{served.url.removesuffix('/api')}/runs/flow-run/{run['id']}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-proxy-server",
             f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip
    seen = subprocess.run(["chromium", *flags, page], capture_output=True, text=True, timeout=120, check=False).stdout
    assert run["name"] in seen
    assert "Completed" in seen


def test_a_paused_schedule_fires_no_more_until_it_is_resumed(served: Served) -> None:
    ratoon("schedule", "smoke", "--run", served.root, "--pause")
    (deployment,) = ask(f"{served.url}/deployments/filter")
    assert [schedule["active"] for schedule in deployment["schedules"]] == [False]
    ratoon("schedule", "smoke", "--run", served.root, "--resume")
    (deployment,) = ask(f"{served.url}/deployments/filter")
    assert [schedule["active"] for schedule in deployment["schedules"]] == [True]
    ratoon("schedule", "smoke", "--run", served.root, "--pause")


def test_a_worker_of_a_process_pool_runs_what_the_example_deploys(served: Served, small: list[str], tmp_path: Path) -> None:
    example = yaml.safe_load((ROOT / "examples" / "prefect.yaml").read_text())
    (deployment,) = example["deployments"]
    deployment["parameters"] |= {
        "recipe": "smoke",
        "run": str(tmp_path / "nightly"),
        "sets": [*small[:-1], "budget.max_tokens=10"],
    }
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(example))
    shutil.copy(ROOT / "examples" / "nightly.py", tmp_path)
    environment = os.environ | {"PREFECT_API_URL": served.url}

    def prefect(*arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "ratoon", "--type", "process")
    prefect("deploy", "--all")
    prefect("deployment", "run", "ratoon/nightly")
    prefect("worker", "start", "--pool", "ratoon", "--run-once")
    assert [(line["outcome"], line["rounds"]) for line in firings(tmp_path / "nightly")] == [("stopped", 0)]


def test_ctrl_c_ends_the_schedule_its_server_and_every_process(served: Served) -> None:
    children = psutil.Process(served.process.pid).children(recursive=True)
    assert children
    os.killpg(served.process.pid, signal.SIGINT)  # as a terminal does: what runs gets it too
    assert served.process.wait(180) == 0
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
