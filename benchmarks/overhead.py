"""What storage and orchestration cost per rollout: the real flow with a scripted engine, up to curation.

Usage: python benchmarks/overhead.py [--tasks 20000] [--n 8] [--tokens 32] [--shard-size 500] [--workers 2] [--json]

Tasks are proposed and checked, prompts rendered, rollouts journaled and stored with log-probs, verified, grouped and
curated by the filters of `recipes/smoke.toml`; nothing is trained or evaluated. `per_rollout_ms` is the wall time of the
flow once Prefect's API answers, over the rollouts; `without_engine` takes off the time spent inside the engine (its own
seconds of processor time, since shard threads that wait for one another would count a second twice).
Bars: at most 0.25 ms a rollout at 20,000 tasks x 8 rollouts of 32 tokens; under 1 GB at the peak, without Prefect's own
server: this process and the verifier workers, pages that processes share counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

START = time.perf_counter()
BAR_MS, BAR_MB = 0.25, 1000.0


def recipe_tree(tasks: int, n: int, tokens: int, shard_size: int, workers: int) -> dict[str, Any]:
    """The recipe: half additions, half maxima, the filters of the smoke recipe."""
    from ratoon.config import read_toml
    from ratoon.pipelines.recipe.recipe import find

    half, rest = tasks // 2, tasks - tasks // 2
    arms = [("add", [3, 3], half), ("max3", [2, 2, 2], rest)]
    return {
        "run": {"name": "overhead", "iterations": 1, "shard_size": shard_size, "workers": workers},
        "model": {"kind": "tiny-random", "seed": 0},
        "engine": {"kind": "scripted", "scripted": {"pass_rate": {"*": 0.5}, "truncated": 0.05, "fixed_tokens": tokens}},
        "tasks": [{"source": "arithmetic", "name": op, "operation": op, "digits": d, "n": k} for op, d, k in arms if k],
        "sampling": {"temperature": 1.0, "max_tokens": tokens},
        "generate": {"tasks": tasks, "n": n},
        "filters": read_toml(find("smoke"))["filters"],
    }


class TimedEngine:
    """An engine as it is, and how long its callers were inside it; processor time is the calling threads' own."""

    def __init__(self, engine: Any, clock: EngineClock) -> None:
        self._engine, self._clock, self.name = engine, clock, engine.name

    def __enter__(self) -> TimedEngine:
        self._engine.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._engine.__exit__(*exc)

    def use(self, policy: Any) -> None:
        self._engine.use(policy)

    def generate(self, requests: Iterable[Any]) -> Iterator[Any]:
        source, wall, cpu = self._engine.generate(requests), 0.0, 0.0
        while True:
            at, own = time.perf_counter(), time.thread_time()
            completion = next(source, None)
            cpu += time.thread_time() - own
            wall += time.perf_counter() - at
            if completion is None:
                self._clock.add(wall, cpu)
                return
            yield completion


class EngineClock:
    """Seconds inside the engine, summed over the shard threads."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self._lock = threading.Lock()

    def add(self, wall: float, cpu: float) -> None:
        with self._lock:
            self.wall, self.cpu = self.wall + wall, self.cpu + cpu


class Memory(threading.Thread):
    """The peak of this process and the verifiers' processes; Prefect's server is left out."""

    def __init__(self, every_s: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.every_s, self.peak, self.peak_workers, self.ended = every_s, 0.0, 0.0, threading.Event()
        self._lap = 0.0

    def run(self) -> None:
        while not self.ended.wait(self.every_s):
            own = _kilobytes(f"/proc/{os.getpid()}/status", "VmRSS:") / 1024
            workers = sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in _verifier_pids()) / 1024
            self.peak, self._lap = max(self.peak, own + workers), max(self._lap, own + workers)
            self.peak_workers = max(self.peak_workers, workers)

    def lap(self) -> float:
        """The peak since the last lap."""
        lap, self._lap = self._lap, 0.0
        return lap


def _kilobytes(path: str, field: str) -> int:
    try:
        with open(path) as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field)), 0)
    except OSError:
        return 0


def _verifier_pids() -> list[int]:
    """Every descendant that runs verifiers."""
    found, waiting = [], [os.getpid()]
    while waiting:
        for pid in _children(waiting.pop()):
            waiting.append(pid)
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"metrics.verifiers" in command:
                found.append(pid)
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for path in Path(f"/proc/{pid}/task").glob("*/children") for c in path.read_text().split()]
    except OSError:
        return []


def harvest_once(stages: dict[str, float], memory: Memory) -> Any:
    """The flow's body: a round without training and evaluation; how long each stage took goes into `stages`."""
    from ratoon.pipelines.curation.curate import curate
    from ratoon.pipelines.flows.fan_out import stage
    from ratoon.pipelines.flows.gather import harvest
    from ratoon.pipelines.rollouts import askers
    from ratoon.pipelines.runtime import records
    from ratoon.pipelines.tasks import pool as propose

    def body(ctx: Any) -> Any:
        at = stages["api_ready_at"] = time.perf_counter()

        def note(name: str) -> None:
            nonlocal at
            stages[f"{name}_s"], at = time.perf_counter() - at, time.perf_counter()
            stages[f"{name}_peak_mb"] = memory.lap()

        pool = stage(propose.tasks)(ctx)
        note("propose")
        prompts = stage(propose.prompts)(ctx, pool)
        made_by, policy = stage(records.base)(ctx)
        asked = stage(askers.assign_round)(ctx, pool, prompts, 1)
        note("prompts_and_assign")
        crop = harvest(ctx, pool, prompts, asked, made_by, policy)
        note("rollouts_scores_groups")
        made = stage(curate)(ctx.store, ctx.recipe, crop)
        note("curate")
        stages["flow_s"] = time.perf_counter() - stages["api_ready_at"]
        return made

    return body


def measure(root: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """One run in `root`, in numbers."""
    from ratoon.config import parse
    from ratoon.pipelines.flows.runner import opened, prefect_environment, run_flow
    from ratoon.pipelines.recipe.recipe import Recipe
    from ratoon.pipelines.runtime import context

    recipe, clock, stages = parse(Recipe, tree, "the benchmark"), EngineClock(), dict[str, float]()
    plain = context.open_engine
    context.open_engine = lambda *args, **named: TimedEngine(plain(*args, **named), clock)  # type: ignore[assignment]
    memory = Memory()
    memory.start()
    with opened(root, recipe, quiet=True) as ctx:
        prefect_environment()
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        made = run_flow(ctx, harvest_once(stages, memory), "overhead")
        workers_cpu = _cpu_seconds(_verifier_pids())
        used = resource.getrusage(resource.RUSAGE_SELF)
        live = ctx.store.live().values()
        rollouts = sum(m.rows("rollouts") for m in live)
        tokens = sum(m.counts.sampled_tokens for m in live)
        memory.ended.set()
    context.open_engine = plain
    flow = stages["flow_s"]
    # Not ru_maxrss: that begins at what the process that started this one held.
    held = _kilobytes("/proc/self/status", "VmHWM:") / 1024
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rollouts": rollouts, "sampled_tokens": tokens, "kept": made.counts.rows_out, "commits": len(ctx.store.commits()),
        "prefect_start_s": stages.pop("api_ready_at") - started, **stages,
        "engine_wall_s": clock.wall, "engine_cpu_s": clock.cpu,
        "process_cpu_s": cpu, "verifier_cpu_s": workers_cpu,
        "per_rollout_ms": 1000 * flow / rollouts, "without_engine_ms": 1000 * (flow - clock.cpu) / rollouts,
        "cpu_per_rollout_ms": 1000 * (cpu + workers_cpu) / rollouts,
        "peak_mb": max(memory.peak, held), "peak_process_mb": held,
        "peak_verifiers_mb": memory.peak_workers,
        "run_mb": sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) / 1e6,
    }  # fmt: skip


def _cpu_seconds(pids: list[int]) -> float:
    """Processor seconds of processes that still run."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """What a figure depends on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).date().isoformat(), "cores": len(os.sched_getaffinity(0)), "memory_gib": round(pages / 2**30),
        "python": platform.python_version(), "load_at_start": round(os.getloadavg()[0], 1),
        "command": " ".join(["python", "benchmarks/overhead.py", *sys.argv[1:]]),
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """The report as lines, the bars last."""
    for name, value in report.items():
        print(f"{name:>26}  {value:,.3f}" if isinstance(value, float) else f"{name:>26}  {value}")
    for name, bar, unit in (("per_rollout_ms", BAR_MS, "ms"), ("peak_mb", BAR_MB, "MB")):
        print(f"{name} {report[name]:.3f} {unit}, bar {bar} {unit}: {'within' if report[name] <= bar else 'OVER'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("tasks", 20_000), ("n", 8), ("tokens", 32), ("shard-size", 500), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--run", type=Path, help="keep the run here; otherwise it is removed")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    where = machine()
    scratch = Path(tempfile.mkdtemp(prefix="ratoon-overhead-"))
    os.environ.setdefault("PREFECT_HOME", str(scratch / "prefect"))
    try:
        tree = recipe_tree(options.tasks, options.n, options.tokens, options.shard_size, options.workers)
        report = where | {"imports_s": time.perf_counter() - START} | measure(options.run or scratch / "run", tree)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


if __name__ == "__main__":
    main()
