"""Scripted rounds with random faults, for as long as asked: memory flat, ledger sound, no orphan.

Usage: python benchmarks/soak.py [--minutes 30] [--seed 0] [--json]

One process lives through the whole soak and makes run after run (two rounds, two shards each). Each start meets a fault
drawn at random: a full disk, an I/O error or a read-only folder at a random step, a verifier worker or the process that
starts them killed, an engine that dies, a budget that runs out, a SIGTERM; every fourth run is in forks that are killed by
SIGKILL. A run is started again until it is done, and must then hold what an unbroken one holds. Memory is the resident set
after each run: its slope, over the runs after the first fifth, must be 0 within two standard errors, or under 1 MB in a
hundred runs.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import faults as sweeps
import plain_loop as plain
import psutil

from ratoon.errors import RatoonError
from ratoon.generators import rollouts as driver
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.meter import signals
from ratoon.pipelines.views import integrity as repair
from ratoon.sft.models.tiny import make_tiny
from ratoon.store import faults
from ratoon.store.store import Store

ERRORS = {"full disk": errno.ENOSPC, "input/output error": errno.EIO, "read-only folder": errno.EROFS}
FAULTS = [*ERRORS, "worker killed", "workers' mother killed", "engine died", "budget", "SIGTERM", "none"]


class Soak:
    """The state of one soak: what happened and what was wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.config = plain.recipe(make_tiny(folder / "model"))
        self.met, self.wrong = Counter[str](), Counter[str]()
        self.memory: list[float] = []
        self.kills = 0

    def cycle(self, pool: VerifierPool, number: int) -> None:
        """One run, started until it is done, then judged."""
        root = self.folder / f"run-{number}"
        kills = self.in_forks(root, pool) if number % 4 == 3 else self.in_process(root, pool)
        for name, count in sweeps.judge(root, self.folder / "whole", kills).items():
            self.wrong[name] += count
        repair.sweep(root)
        self.wrong["strays after repair"] += len(repair.strays(Store.open(root)))
        shutil.rmtree(root)

    def in_process(self, root: Path, pool: VerifierPool) -> list[sweeps.Kill]:
        """Starts in this process, each under a fault, until one ends well."""
        starts: list[sweeps.Kill] = []
        for attempt in range(50):
            fault = self.chance.choice(FAULTS) if attempt < 8 else "none"
            self.met[fault] += 1
            try:
                self.start(root, pool, fault)
                return starts
            except RatoonError as error:
                self.met[type(error).__name__] += 1
                starts.append(sweeps.killed(root, fault))
            finally:
                faults.hook = None
        raise SystemExit("a run was not done after 50 starts")

    def start(self, root: Path, pool: VerifierPool, fault: str) -> None:
        config = self.config
        if fault in ERRORS:
            faults.hook = failing(self.chance.randrange(400), ERRORS[fault])
        elif fault == "engine died":
            config = _with(config, "engine", scripted=config.engine.scripted.model_copy(update={"dies_after": 3, "deaths": 2}))
        elif fault == "budget":
            config = _with(config, "budget", max_tokens=self.chance.randrange(1500))
        elif fault == "SIGTERM":
            faults.hook = at_step(self.chance.randrange(400), lambda: os.kill(os.getpid(), signal.SIGTERM))
        elif fault in ("worker killed", "workers' mother killed") and pool.pids():
            victim = pool.pids()[0] if fault == "worker killed" else psutil.Process(pool.pids()[0]).ppid()
            faults.hook = at_step(self.chance.randrange(200), lambda: _kill(victim))
        with opened(root, config, quiet=True) as ctx, signals(ctx.meter):
            ctx.pool = lambda: pool  # type: ignore[method-assign]
            plain.rounds(ctx)

    def in_forks(self, root: Path, pool: VerifierPool) -> list[sweeps.Kill]:
        """Starts in forks, killed at a random step each, then one that is not."""
        kills = []
        for _ in range(self.chance.randrange(1, 6)):
            at = iter(range(self.chance.randrange(1, 500)))
            point = sweeps.kill_at(root, self.config, pool, lambda _, at=at: next(at, None) is None)
            if point is not None:
                self.kills += 1
                kills.append(sweeps.killed(root, point))
        sweeps.kill_at(root, self.config, pool, lambda _: False)
        return kills

    def slope(self) -> tuple[float, float]:
        """Megabytes a hundred runs, and its standard error, over the runs after the first fifth."""
        rest = self.memory[len(self.memory) // 5 :]
        if len(rest) < 5:
            return 0.0, float("inf")
        fit = statistics.linear_regression(range(len(rest)), rest)
        residuals = [y - fit.slope * x - fit.intercept for x, y in enumerate(rest)]
        spread = sum((x - (len(rest) - 1) / 2) ** 2 for x in range(len(rest)))
        error = (sum(r * r for r in residuals) / (len(rest) - 2) / spread) ** 0.5
        return 100 * fit.slope, 100 * error


def failing(after: int, number: int) -> faults.Hook:
    """A disk that fails for good after so many steps."""
    left = iter(range(after))

    def hook(when: str, step: str, path: Path, data: faults.Bytes) -> None:
        if when == "before" and next(left, None) is None:
            raise OSError(number, os.strerror(number))

    return hook


def at_step(n: int, act: Callable[[], None]) -> faults.Hook:
    """`act` at the n-th step, once."""
    left = iter(range(n + 1))

    def hook(when: str, step: str, path: Path, data: faults.Bytes) -> None:
        if next(left, None) == n:
            act()

    return hook


def _with(config: Recipe, section: str, **fields: Any) -> Recipe:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=fields)})


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def soak(folder: Path, minutes: float, seed: int) -> dict[str, Any]:
    """Cycles until the time is over; what was met, what was wrong, how memory went, who is left."""
    driver._BATCH = 2
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one that comes between two starts would end the soak itself
    state, me = Soak(folder, seed), psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    end = time.monotonic() + 60 * minutes
    pool = VerifierPool(1)
    plain.run(folder / "whole", state.config, pool)
    cycles = 0
    while time.monotonic() < end:
        state.cycle(pool, cycles)
        cycles += 1
        gc.collect()
        state.memory.append(me.memory_info().rss / 1e6)
    pool.close()
    slope, error = state.slope()
    left = [c.pid for c in me.children(recursive=True) if c.pid not in before and c.status() != psutil.STATUS_ZOMBIE]
    flat = abs(slope) < max(1.0, 2 * error)
    return {
        "minutes": minutes, "runs": cycles, "met": dict(state.met), "kills": state.kills, "wrong": dict(state.wrong),
        "first_mb": round(state.memory[0], 1), "last_mb": round(state.memory[-1], 1),
        "slope_mb_per_100_runs": round(slope, 3), "standard_error": round(error, 3), "memory_flat": flat,
        "orphans": len(left), "threads": threading.active_count(), "ok": flat and not left and not any(state.wrong.values()),
    }  # fmt: skip


def main() -> None:
    """Parse, soak, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratoon-soak-") as folder:
        report = soak(Path(folder), given.minutes, given.seed)
    print(json.dumps(report, indent=1) if given.json else "\n".join(f"{k:>22}  {v}" for k, v in report.items()))
    sys.exit(not report["ok"])


if __name__ == "__main__":
    main()
