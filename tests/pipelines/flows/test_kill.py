"""Killed with SIGKILL at any point and started again, a run ends as an unbroken one: same content, nothing asked twice.

The real command in a process of its own, killed while it samples, trains and evaluates; `make soak` kills the whole smoke
recipe, between its commits too. `test_faults.py` kills the same stages at a commit of every kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from ratoon import Run
from ratoon.sft.data.dataset import content_digest, read_dataset
from ratoon.store.journal import Journal
from ratoon.store.manifest import Commit
from ratoon.store.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]  # three starts of the command, two trainings and one cut short
Slot = tuple[str, int | None, str | None]
# Operational settings only: slow enough to be caught at a point, and a checkpoint per step to go on from.
SLOW = ["engine.scripted.delay_s=0.4", "train.checkpoint_every=1", "run.workers=2"]


class Kill(NamedTuple):
    """What a run had safely written when it was killed, and how much of its request log was there."""

    point: str
    journaled: set[str]
    committed: set[str]
    commits: int
    asked: int


@pytest.fixture(scope="module")
def sets(full_size: bool, small: list[str]) -> list[str]:
    """The recipe that is killed: two rounds, cut down but in a soak."""
    return [] if full_size else [*small, "run.iterations=2", "train.min_examples=1"]


@pytest.fixture(scope="module")
def unbroken(
    request: pytest.FixtureRequest, full_size: bool, sets: list[str], prefect_here: None, training_here: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """The finished folder of the same recipe that nobody killed."""
    if full_size:
        return Path(request.getfixturevalue("smoke_run"))
    with training_here():
        return Run.start("smoke", tmp_path_factory.mktemp("unbroken") / "smoke", sets=sets, quiet=True).root


@pytest.fixture(scope="module")
def killed(
    full_size: bool, sets: list[str], prefect_server: str, prefect_here: None, training_here: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Kill]]:  # fmt: skip
    """One run folder, killed at each point in turn and finished at last."""
    root = tmp_path_factory.mktemp("killed") / "smoke"
    points = {name: reached for name, reached in POINTS.items() if full_size or name not in BETWEEN_COMMITS}
    kills = [kill_at(name, reached, root, sets, prefect_server) for name, reached in points.items()]
    with training_here():
        Run.start("smoke", root, sets=sets, quiet=True)
    return root, kills


def journal_begun(root: Path) -> bool:
    return any(path.stat().st_size for path in root.glob("journal/*.log"))


def rollouts_committed(root: Path) -> bool:
    return any(why.startswith("rollouts") for why in whys(root))


def curated(root: Path) -> bool:
    return any(why.startswith("curate 1") for why in whys(root))


def training(root: Path) -> bool:
    """In round 2: a step of optimisation done, the policy not there."""
    steps = [path for path in root.glob("policies/.*.work/progress.jsonl") if path.stat().st_size]
    return bool(steps) and any(why.startswith("curate 2") for why in whys(root))


def evaluating(root: Path) -> bool:
    return journal_begun(root) and any(why.startswith("assign 2 suite-heldout") for why in whys(root))


POINTS: dict[str, Callable[[Path], bool]] = {
    "after the first journal line": journal_begun,
    "after a commit of rollouts": rollouts_committed,
    "between the dataset's commit and the policy's": curated,
    "during training": training,
    "during the evaluation of a later policy": evaluating,
}
BETWEEN_COMMITS = {"after a commit of rollouts", "between the dataset's commit and the policy's"}


def whys(root: Path) -> list[str]:
    return [Commit.from_json(path.read_bytes()).why for path in sorted(root.glob("commits/*.json"))]


def started(root: Path, sets: list[str], server: str) -> subprocess.Popen[bytes]:
    given = [argument for item in [*sets, *SLOW] for argument in ("--set", item)]
    command = [sys.executable, "-m", "ratoon", "run", "smoke", "--run", str(root), "--quiet", *given]
    root.parent.mkdir(exist_ok=True)
    with root.with_name("run.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PREFECT_API_URL": server})


def kill_at(name: str, reached: Callable[[Path], bool], root: Path, sets: list[str], server: str) -> Kill:
    """Start the run, kill it as soon as `reached`, and see that no process of it is left."""
    run = started(root, sets, server)
    try:
        while not reached(root):
            if run.poll() is not None:
                pytest.fail(f"the run ended before it was {name}:\n{root.with_name('run.log').read_text()[-2000:]}")
            time.sleep(0.01)
        children = psutil.Process(run.pid).children(recursive=True)
    finally:
        run.kill()
        run.wait()
    journals = [Journal(path) for path in root.glob("journal/*.log")]
    end = time.monotonic() + 30
    while (alive := [child for child in children if lives(child)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive, f"killed {name}, these live on: {alive}"
    store = Store.open(root)
    rows = store.read("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist()
    journaled = {record["id"] for journal in journals for record in journal.records()}
    return Kill(name, journaled, set(rows), len(store.commits()), len(asked(root)))


def lives(process: psutil.Process) -> bool:
    """A zombie does not: where process 1 collects none, a killed run's grandchildren stay as such."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def asked(root: Path) -> list[str]:
    path = root / "logs" / "requests.log"
    return path.read_text().splitlines() if path.exists() else []


def content(root: Path) -> dict[Slot, tuple[str, dict[str, str]]]:
    """Of every live artifact: the digest of its content, and of each of its tables."""
    return {(m.stage, m.iteration, m.shard): (m.content_digest, dict(m.digests)) for m in Store.open(root).live().values()}


def test_a_run_killed_at_every_point_equals_an_unbroken_one(killed: tuple[Path, list[Kill]], unbroken: Path) -> None:
    root, _ = killed
    assert content(root) == content(unbroken)


def test_each_kill_left_work_behind_and_the_next_start_did_not_repeat_it(killed: tuple[Path, list[Kill]]) -> None:
    root, kills = killed
    assert {point for point in POINTS if point not in BETWEEN_COMMITS} <= {kill.point for kill in kills}
    assert kills[0].journaled
    assert all(kill.committed for kill in kills[1:])
    assert kills[-1].journaled
    assert [k.commits for k in kills] == sorted({k.commits for k in kills})
    for kill in kills:
        again = (kill.journaled | kill.committed) & set(asked(root)[kill.asked :])
        assert not again, f"killed {kill.point}: {len(again)} requests were paid for twice"


def test_a_kill_repeats_at_most_what_was_in_flight(killed: tuple[Path, list[Kill]], unbroken: Path) -> None:
    root, kills = killed
    assert set(asked(root)) == set(asked(unbroken))
    assert len(asked(root)) - len(asked(unbroken)) <= 64 * len(kills), "no more than engine.scripted.max_running each time"


def test_policies_and_datasets_of_a_killed_run_are_those_of_an_unbroken_one(
    killed: tuple[Path, list[Kill]], unbroken: Path
) -> None:
    root, _ = killed
    policies = [
        sorted(Store.open(r).read("policies", columns=["policy_id"])["policy_id"].to_pylist()) for r in (root, unbroken)
    ]
    assert policies[0] == policies[1]
    assert len(policies[0]) == 3
    for iteration in (1, 2):
        folders = [r / "datasets" / "default" / str(iteration) for r in (root, unbroken)]
        first, second = (content_digest(read_dataset(folder)) for folder in folders)
        assert first == second
    left = [p.name for p in root.glob("policies/.*")] + [p.name for p in root.glob("datasets/*/.*")]
    assert left == [], "no work folder outlives its policy"


def test_every_artifact_of_a_killed_run_accounts_for_its_rows_and_every_part_is_whole(killed: tuple[Path, list[Kill]]) -> None:
    store = Store.open(killed[0])
    for manifest in store.live().values():
        counts = manifest.counts
        assert counts.rows_planned == counts.rows_out + counts.dropped + counts.failed
    assert store.verify() == []
