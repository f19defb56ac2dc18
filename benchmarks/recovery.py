"""Recovery of whole runs: how soon a killed one asks again, kills of the real command, and damage that must be found.

Usage: python benchmarks/recovery.py restart | whole [--server URL] | flips [--places 200] [--seed 0]     (all take --json)

`restart`: `ratoon run` against a mock endpoint is killed and started again; seconds until its first new request, and how many
of them are Prefect's own start (its import, and its API until the flow begins). Bar: 3 s besides Prefect's.
`whole`: `ratoon run smoke`, one round, is killed at one point of each kind in turn, then finished; each start must end what the
killed one left running. It must hold what an unbroken run holds. Without --server on Prefect's embedded API.
`flips`: a bit flipped, or the file cut, at random places of parts, manifests, commits, run.json; `ratoon verify` finds all.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plain_loop as plain

from ratoon.errors import StoreError
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.views import integrity as repair
from ratoon.sft.models.tiny import make_tiny
from ratoon.store.journal import Journal
from ratoon.store.store import Store

BAR_S = 3.0
SMALL = ["tasks.0.n=16", "tasks.1.n=16", "splits.eval=4", "splits.probe=2", "generate.tasks=12", "generate.n=4",
         "run.shard_size=6", "run.iterations=1", "train.checkpoint_every=1"]  # fmt: skip
# The command line under a hook that kills at the first point that matches, or under a stopwatch of Prefect's start.
KILLED = """
import os, re, signal, sys
from ratoon.store import faults
wanted = re.compile(sys.argv.pop(1))
def hook(when, step, path, data):
    half = when == "before" and len(data) > 1 and wanted.search(f"half {step} {path}")
    if half:
        with path.open("ab", buffering=0) as file:
            file.write(bytes(data[: len(data) // 2]))
    if half or wanted.search(f"{when} {step} {path}"):
        os.kill(os.getpid(), signal.SIGKILL)
faults.hook = hook
from ratoon.cli import main
main()
"""
TIMED = """
import json, sys, time
from pathlib import Path
clocks = lambda: (time.time(), time.process_time())
marks, told = {"python": clocks()}, Path(sys.argv.pop(1))
from ratoon.generators.engines import requestlog
from ratoon.pipelines.flows import runner as start
environment, flow, sent = start.prefect_environment, start.run_flow, requestlog.RequestLog.sent
def prefect_environment():
    marks.setdefault("opened", clocks())
    environment()
    import prefect.flows, prefect.task_runners, prefect.artifacts
    marks.setdefault("imported", clocks())
def run_flow(ctx, body, name):
    marks["asked"] = clocks()
    def timed(ctx):
        marks["flow"] = clocks()
        return body(ctx)
    return flow(ctx, timed, name)
def first(log, request_id):
    requestlog.RequestLog.sent = sent
    marks["request"] = clocks()
    told.write_text(json.dumps(marks))
    sent(log, request_id)
start.prefect_environment, start.run_flow, requestlog.RequestLog.sent = prefect_environment, run_flow, first
from ratoon.cli import main
main()
"""
KINDS = {
    "half a part": r"half write .*rollouts-000\.parquet",
    "after a part": r"after rename .*scores-000\.parquet",
    "before a manifest": r"before rename .*groups/.*manifest\.json",
    "half a commit": r"half write .*commits/\.\d+",
    "after a commit": r"after rename .*commits/\d+\.json",
    "half a journal append": r"half append .*journal",
    "after a journal append": r"after append .*journal",
    "before a journal goes": r"before unlink .*journal/a_.*log",
    "before a dataset's swap": r"before swap .*datasets/default/1$",
    "after a dataset's swap": r"after swap .*datasets/default/1$",
}


def command(root: Path, sets: list[str], code: str | None = None, *arguments: str) -> list[str]:
    """`ratoon run smoke` on `root`, as it is or inside `code`."""
    given = [argument for item in sets for argument in ("--set", item)]
    program = ["-m", "ratoon"] if code is None else ["-c", code, *arguments]
    return [sys.executable, *program, "run", "smoke", "--run", str(root), "--quiet", *given]


def environment(server: str | None = None) -> dict[str, str]:
    """Offline; on the server, or on Prefect's embedded API."""
    here = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    return here | {"HF_HUB_OFFLINE": "1"} | ({"PREFECT_API_URL": server} if server else {})


def restart(folder: Path, server: str | None) -> dict[str, Any]:
    """Seconds from the start of the second process to its first request."""
    path = Path(__file__).resolve().parents[1] / "tests" / "generators" / "engines" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None
    assert spec.loader is not None
    endpoint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(endpoint)

    def slow(body: dict[str, Any], n: int) -> str:
        return "ok"

    root, told = folder / "run", folder / "prefect"
    with endpoint.Endpoint(slow, models=("base",)) as mock:
        sets = [*SMALL, "engine.kind=openai", f"engine.openai.base_url={mock.url!r}", "engine.openai.model=base",
                "engine.openai.concurrency=2", "suites.heldout.n=400"]  # fmt: skip
        first = subprocess.Popen(command(root, sets), env=environment(server), stderr=subprocess.DEVNULL)
        while mock.calls < 300 and first.poll() is None:
            time.sleep(0.01)
        first.kill()
        first.wait()
        time.sleep(1.0)
        calls, began = mock.calls, time.time()
        second = subprocess.Popen(command(root, sets, TIMED, str(told)), env=environment(server))
        while mock.calls == calls and second.poll() is None:
            time.sleep(0.002)
        seconds = time.time() - began
        second.terminate()
        second.wait()
    marks = json.loads(told.read_text())

    def between(a: str, b: str, clock: int) -> float:
        return float(marks[b][clock] - marks[a][clock])

    prefect, cpu = (between("opened", "imported", c) + between("asked", "flow", c) for c in (0, 1))
    return {
        "seconds": round(seconds, 2), "prefect_s": round(prefect, 2), "besides_prefect_s": round(seconds - prefect, 2),
        "processor_s": round(marks["request"][1], 2), "besides_prefect_processor_s": round(marks["request"][1] - cpu, 2),
        "until_opened_s": round(marks["opened"][0] - began, 2), "in_flow_s": round(between("flow", "request", 0), 2),
        "in_flow_processor_s": round(between("flow", "request", 1), 2),
        "bar_s": BAR_S, "load": os.getloadavg()[0], "asked_before": calls, "ok": seconds - prefect <= BAR_S,
    }  # fmt: skip


def whole(folder: Path, server: str | None) -> dict[str, Any]:
    """Kills of the real command at one point of each kind, then what differs from an unbroken run."""
    reference, root = folder / "whole", folder / "run"
    subprocess.run(command(reference, SMALL), env=environment(server), check=True, stdout=subprocess.DEVNULL)
    kills, orphans = [], 0
    for name, pattern in KINDS.items():
        done = subprocess.run(command(root, SMALL, KILLED, pattern), env=environment(server), check=False, stdout=-3)
        if done.returncode != -9:
            raise SystemExit(f"never came to {name!r}: it ended with {done.returncode}")
        safe = {record["id"] for path in root.glob("journal/*.log") for record in Journal(path).records()}
        kills.append((name, len(plain.asked(root)), safe))
        orphans += len(living(root))
    subprocess.run(command(root, SMALL), env=environment(server), check=True, stdout=subprocess.DEVNULL)
    store, other = Store.open(root), Store.open(reference)
    mine, theirs = plain.slots(list(store.live().values())), plain.slots(list(other.live().values()))
    sent = plain.asked(root)
    rows = store.read("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist()
    return {
        "kills": [name for name, _, _ in kills], "lost": len(theirs.keys() - mine.keys()),
        "doubled": len(rows) - len(set(rows)) + len(mine.keys() - theirs.keys()),
        "repaid": sum(len(safe.intersection(sent[at:])) for _, at, safe in kills),
        "reissued": len(sent) - len(set(sent)), "damaged": len(repair.problems(store)),
        "other_content": sum(mine[slot][1] != theirs[slot][1] for slot in mine.keys() & theirs.keys()),
        "left_by_kills": orphans, "orphans": len(living(root)), "strays": len(repair.sweep(root)),
    }  # fmt: skip


def living(root: Path) -> list[int]:
    """Processes of this machine that a start of the run wrote down and that live."""
    from ratoon.store.lock import owner_from

    trees = [json.loads(path.read_text()) for path in root.glob("children/*.json")]
    time.sleep(1.0)  # those that end with their parent have had the time
    return [tree["child"]["pid"] for tree in trees if owner_from(tree["child"]).alive()]


def flips(folder: Path, places: int, seed: int) -> dict[str, Any]:
    """Damage at random places of a finished run, one at a time; each must be found, and nothing else."""
    root = folder / "run"
    with VerifierPool(1) as pool:
        plain.run(root, plain.recipe(make_tiny(folder / "model")), pool)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.relative_to(root).parts[0] in ("artifacts", "commits"))
    chance, missed, kinds = random.Random(seed), [], {"flip": 0, "cut": 0}
    for _ in range(places):
        path, how = chance.choice([*files, root / "run.json"]), chance.choice(["flip", "cut"])
        whole = path.read_bytes()
        at = chance.randrange(len(whole))
        bit = bytes([whole[at] ^ (1 << chance.randrange(8))])
        path.write_bytes(whole[:at] if how == "cut" else whole[:at] + bit + whole[at + 1 :])
        kinds[how] += 1
        if not found(root):
            missed.append(f"{how} {path.relative_to(root)} {at}")
        path.write_bytes(whole)
    return {"places": places, **kinds, "files": len(files) + 1, "missed": missed, "sound_afterwards": not found(root)}


def found(root: Path) -> list[str]:
    """What `ratoon verify` says."""
    try:
        return repair.problems(Store.open(root))
    except StoreError as error:
        return [error.message]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["restart", "whole", "flips"])
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", help="a Prefect API; default the embedded one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ratoon-recovery-"))
    try:
        if given.mode == "flips":
            report = flips(folder, given.places, given.seed)
        else:
            report = (restart if given.mode == "restart" else whole)(folder, given.server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if given.json else "\n".join(f"{k:>18}  {v}" for k, v in report.items()))
    wrong = [
        v for k, v in report.items() if k in ("lost", "doubled", "repaid", "damaged", "other_content", "orphans", "missed")
    ]
    sys.exit(any(wrong) or report.get("ok") is False)


if __name__ == "__main__":
    main()
