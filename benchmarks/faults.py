"""Kills at every commit point: nothing lost, doubled or paid for twice.

Usage: python benchmarks/faults.py sweep|alone [--kinds] [--every 1] [--processes 2] [--json]

`sweep` kills a few runs (two rounds, two shards each) at every point in turn, a `kill -9` per start, and starts them again
each time; `alone` kills a run of its own at each point and finishes it. `--kinds` takes one point of each kind: what is done
to which sort of file, whatever the stage. A point is before or after a write, fsync, rename, unlink, journal append or swap
of a dataset folder, and in the middle of a write. The runs are the real stage functions and store in plain Python
(`plain_loop.py`), a forked child per start. Each must end with the content of an unbroken run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plain_loop as plain

from ratoon.generators import rollouts as driver
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.sft.models.tiny import make_tiny
from ratoon.store import faults
from ratoon.store.journal import Journal
from ratoon.store.store import Store

CHAINS = 6
_NAMES = re.compile(r"(?<=artifacts/)\w+|\w+(?=-\d+\.parquet)|(?<=journal/)\S+|[a-z]_[0-9a-f]{8,}|\d+")  # ids, stages, numbers
_OWN = re.compile(r"^\.(.+?)(\.\d+){1,2}\.tmp$|^\.(.+?)\.\d+$")  # a temporary file or dataset folder: its pid and number go


@dataclass
class Points:
    """The hook of one start: `at` is called at every point with its name, which no pid and no earlier start changes."""

    root: Path
    at: Callable[[str], None]
    last: str = ""
    torn: list[tuple[Path, bytes]] = field(default_factory=list)

    def __call__(self, when: str, step: str, path: Path, data: faults.Bytes) -> None:
        where = self._where(step, path)
        self.torn = [(path, bytes(data[: len(data) // 2]))] if when == "before" and len(data) > 1 else []
        self.at(f"{when} {step} {where}")
        if self.torn:
            self.at(f"half {step} {where}")
        self.last = where if step in ("rename", "swap", "append") else self.last

    def _where(self, step: str, path: Path) -> str:
        pieces = [(m[1] or m[3]) + "~" if (m := _OWN.match(p)) else p for p in path.relative_to(self.root).parts]
        where = "/".join(pieces)
        if step == "append":
            return f"{where} from byte {path.stat().st_size if path.exists() else 0}"
        if path.is_dir() and step == "fsync" and "~" not in where:
            return f"{where or '.'} after {self.last}"
        return f"{where} again" if where in ("lock", "config.json") and path.exists() else where

    def tear(self) -> None:
        """Leave half of what was about to be written."""
        for path, data in self.torn:
            with path.open("ab", buffering=0) as file:
                file.write(data)


@dataclass
class Kill:
    """Where a start was killed, which requests had been sent by then, and whose answers were safe."""

    point: str
    asked: int
    safe: set[str]


def kill_at(root: Path, config: Any, pool: VerifierPool, chosen: Callable[[str], bool]) -> str | None:
    """Start the run and kill it at the first point that is `chosen`; its name, or None when the run ended first."""
    told, tell = os.pipe()

    def start() -> None:
        def at(point: str) -> None:
            if chosen(point):
                os.write(tell, point.encode())
                if point.startswith("half"):
                    points.tear()
                plain.kill_self()

        points = Points(root, at)
        faults.hook = points
        plain.run(root, config, pool)

    code = plain.forked(start)
    os.close(tell)
    with os.fdopen(told) as said:
        point = said.read()
    if code not in (0, -9) or (code == -9) != bool(point):
        raise SystemExit(f"a start ended with {code} at {point!r}: its words are above")
    return point or None


def killed(root: Path, point: str) -> Kill:
    """What is on disk right after a kill."""
    safe = {record["id"] for path in root.glob("journal/*.log") for record in Journal(path).records()}
    return Kill(point, len(plain.asked(root)), safe)


def _chain(root: Path, number: int, config: Any, pool: VerifierPool, points: Sequence[str]) -> list[Kill]:
    """One run, killed at those of the points that are of its chain in turn, then finished."""
    kills: list[Kill] = []
    left = {point for point in points if chain_of(point) == number}
    while (point := kill_at(root, config, pool, left.__contains__)) is not None:
        left.remove(point)
        kills.append(killed(root, point))
    return kills


def alone(root: Path, config: Any, pool: VerifierPool, point: str) -> list[Kill]:
    """A run of its own killed at one point, then finished."""
    if kill_at(root, config, pool, lambda p: p == point) is None:
        raise SystemExit(f"the run never came to {point!r}")
    kills = [killed(root, point)]
    kill_at(root, config, pool, lambda p: False)
    return kills


def points_of(root: Path, config: Any, pool: VerifierPool) -> list[str]:
    """Every point of an unbroken run, which is made at `root`."""
    told, tell = os.pipe()

    def start() -> None:
        with os.fdopen(tell, "w") as out:
            faults.hook = Points(root, lambda point: print(point, file=out))
            plain.run(root, config, pool)
            faults.hook = None

    with ThreadPoolExecutor(1) as reader:  # a pipe holds less than there is to say
        said = reader.submit(lambda: os.fdopen(told).read())
        if plain.forked(start) != 0:
            raise SystemExit("the unbroken run failed: its words are above")
        os.close(tell)
        return list(dict.fromkeys(said.result().splitlines()))


def one_of_each_kind(points: Sequence[str]) -> list[str]:
    """A point for each thing that is done to each sort of file, whichever stage writes it; of other stages in turn."""
    kinds: dict[str, list[str]] = {}
    for point in points:
        kinds.setdefault(_NAMES.sub("*", point), []).append(point)
    return [same[number % len(same)] for number, same in enumerate(kinds.values())]


def judge(root: Path, whole: Path, kills: list[Kill]) -> dict[str, int]:
    """How a killed run differs from the unbroken one: all must be 0."""
    store, reference = Store.open(root), Store.open(whole)
    mine, theirs = plain.slots(list(store.live().values())), plain.slots(list(reference.live().values()))
    rows = store.read("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist()
    wanted = set(reference.read("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist())
    sent = plain.asked(root)
    repaid = sum(len(kill.safe.intersection(sent[kill.asked :])) for kill in kills)
    return {
        "lost": len(wanted - set(rows)) + len(theirs.keys() - mine.keys()),
        "doubled": len(rows) - len(set(rows)) + len(mine.keys() - theirs.keys()),
        "repaid": repaid,
        "other_content": sum(mine[slot] != theirs[slot] for slot in mine.keys() & theirs.keys()),
        "unaccounted": sum(_open(m.counts) for m in store.live().values()),
        "damaged": len(store.verify()),
        "never_planned": len(set(sent) - set(plain.asked(whole))),
    }


def _open(counts: Any) -> int:
    return abs(counts.rows_planned - counts.rows_out - counts.dropped - counts.failed)


_PAST = ("after rename", "before fsync", "after fsync", "before unlink", "after unlink")
_COMMIT = re.compile(r"rename (commits/|run\.json)|fsync \S+ after (commits/|run\.json)|unlink journal/")


def chain_of(point: str) -> int:
    """The chain that takes a point. Once a commit is there, no later start comes to what follows it: a chain for each such
    place. Half an append leaves other appends to be made: a chain for the first of a journal, one for the others."""
    kind = " ".join(point.split()[:2])
    if _COMMIT.search(point) and kind in _PAST:
        return _PAST.index(kind)
    if kind == "half append":
        return CHAINS - 1 if point.endswith(" 0") else 0
    return sum(point.encode()) % (CHAINS - 1) if "append" not in kind else 0


def report(mode: str, kinds: bool, every: int, processes: int, folder: Path) -> dict[str, Any]:
    """Run a sweep; the figures of all processes together."""
    driver._BATCH, driver._WAIT = 2, 3600.0  # several appends a shard, each at its own place every time
    model = make_tiny(folder / "model")
    config = plain.recipe(model)
    started = time.perf_counter()
    with VerifierPool(1) as pool:
        plain.run(folder / "warm", config, pool)  # imports, worker processes: once, before any fork
        points = points_of(folder / "whole", config, pool)
    points = (one_of_each_kind(points) if kinds else points)[::every]
    results = [folder / f"result-{i}.json" for i in range(processes)]
    pids = []
    for number, result in enumerate(results):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                result.write_text(json.dumps(_part(mode, points, number, processes, folder, config)))
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise SystemExit("a sweep failed: its words are above")
    parts = [json.loads(result.read_text()) for result in results]
    wrong = {name: sum(part["wrong"][name] for part in parts) for name in parts[0]["wrong"]}
    reissued = sum(part["reissued"] for part in parts)
    missed = sorted(set(points) - {p for part in parts for p in part["killed"]})
    return {
        "mode": mode, "points": len(points), "kills": sum(len(part["killed"]) for part in parts), "missed": missed,
        "safe_seen": max(part["safe_seen"] for part in parts), "reissued": reissued, "wrong": wrong,
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def _part(mode: str, points: list[str], number: int, of: int, folder: Path, config: Any) -> dict[str, Any]:
    """One process's share, with a verifier pool of its own."""
    whole, root = folder / "whole", folder / f"{mode}-{number}"
    with VerifierPool(1) as pool:
        plain.run(folder / f"warm-{number}", config, pool)
        if mode == "sweep":
            some = [(root / str(i), _chain(root / str(i), i, config, pool, points)) for i in range(CHAINS)[number::of]]
        else:
            some = [(root / str(i), alone(root / str(i), config, pool, p)) for i, p in enumerate(points[number::of])]
    judged = [judge(one, whole, kills) for one, kills in some]
    kills = [kill for _, kills in some for kill in kills]
    return {
        "killed": [kill.point for kill in kills],
        "safe_seen": len({i for kill in kills for i in kill.safe}),
        "reissued": sum(len(sent := plain.asked(one)) - len(set(sent)) for one, _ in some),
        "wrong": {name: sum(j[name] for j in judged) for name in judged[0]},
    }  # fmt: skip


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["sweep", "alone"])
    parser.add_argument("--kinds", action="store_true", help="take one point of each kind")
    parser.add_argument("--every", type=int, default=1, help="take only every so many points")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a kill loses nothing that was written, there either
    with tempfile.TemporaryDirectory(prefix="ratoon-faults-", dir=memory) as folder:
        found = report(given.mode, given.kinds, given.every, given.processes, Path(folder))
    print(json.dumps(found, indent=1) if given.json else "\n".join(f"{k:>10}  {v}" for k, v in found.items()))
    sys.exit(any(found["wrong"].values()) or bool(found["missed"]))


if __name__ == "__main__":
    main()
