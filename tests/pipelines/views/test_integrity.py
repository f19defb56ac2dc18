"""`ratoon verify` finds any damage, `ratoon repair` removes what kills leave behind and nothing else; both may be killed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import StoreError
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.views import integrity as repair
from ratoon.store import faults
from ratoon.store.store import Store

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def finished(plain: Any, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Read it; to change it, copy it."""
    root = Path(tmp_path_factory.mktemp("plain")) / "run"
    with VerifierPool(1) as pool:
        plain.run(root, plain.recipe(tiny_model), pool)
    return root


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def found(root: Path) -> list[str]:
    """What `ratoon verify` says, an opening that is refused included."""
    try:
        return repair.problems(Store.open(root))
    except StoreError as error:
        return [error.message]


def test_a_whole_run_has_no_problems_and_no_strays(run: Path) -> None:
    assert found(run) == []
    assert repair.strays(Store.open(run)) == []


def test_flipped_bits_and_cut_files_at_random_places_are_all_found(run: Path) -> None:
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.relative_to(run).parts[0] in ("artifacts", "commits"))
    chance = random.Random(0)
    for number in range(40):
        path = chance.choice([*files, run / "run.json"])
        whole = path.read_bytes()
        at = chance.randrange(len(whole) - 1)
        damaged = whole[:at] if number % 2 else whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :]
        path.write_bytes(damaged)
        problems = found(run)
        assert problems, f"{path} at {at}"
        assert path.name in problems[0] or path.parent.name in problems[0]
        path.write_bytes(whole)
    assert found(run) == []


@pytest.mark.parametrize("damage", ["gone", "row", "info"])
def test_a_dataset_that_is_not_what_was_curated_is_found_and_the_next_start_makes_it_anew(
    run: Path, plain: Any, tiny_model: Path, damage: str
) -> None:
    folder = run / "datasets" / "default" / "1"
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "row":
        part = next((folder / "data").glob("*.parquet"))
        part.write_bytes(part.read_bytes()[:-100])
    else:
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset_id": "other"}))
    assert [str(folder) in problem for problem in found(run)] == [True]
    with VerifierPool(1) as pool:
        plain.run(run, plain.recipe(tiny_model), pool)
    assert found(run) == []


def litter(root: Path) -> list[str]:
    """What kills leave behind, one of each kind, and what only looks like it."""
    files = ["artifacts/rollouts/a_half/rollouts-000.parquet", "commits/.000099.json.12.0.tmp", ".config.json.12.3.tmp",
             "datasets/default/.1.4711/data/train-00000.parquet", "datasets/default/.1.old.4711/dataset.json",
             "journal/a_empty.log", "policies/.m_done.work/job.json"]  # fmt: skip
    kept = ["journal/a_unfinished.log", "policies/.m_open.work/job.json", "policies/m_done/policy.json", "notes.txt",
            "datasets/mine/readme.txt", "logs/engine.log"]  # fmt: skip
    for name in files + kept:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if "empty" in name else "x")
    return ["artifacts/rollouts/a_half", "commits/.000099.json.12.0.tmp", ".config.json.12.3.tmp", "datasets/default/.1.4711",
            "datasets/default/.1.old.4711", "journal/a_empty.log", "policies/.m_done.work"]  # fmt: skip


def test_repair_lists_and_with_yes_removes_what_no_commit_names_and_nothing_else(run: Path, here: Callable[..., Any]) -> None:
    before = {p for p in run.rglob("*") if p.is_file()}
    expected = litter(run)
    assert repair.strays(Store.open(run)) == sorted(expected)
    told = here("repair", run)
    assert told.code == 0
    assert all(name in told.out for name in expected)
    assert f"ratoon repair {run} --yes" in told.out
    assert all((run / name).exists() for name in expected)
    told = here("repair", run, "--yes", "--json")
    assert json.loads(told.out)["strays"] == sorted(expected)
    assert not any((run / name).exists() for name in expected)
    after = {p for p in run.rglob("*") if p.is_file()}
    assert before <= after
    assert len(after - before) >= 6, "what only looks like litter is there"
    assert found(run) == []


def test_a_run_that_is_being_written_is_not_swept(run: Path, here: Callable[..., Any]) -> None:
    expected = litter(run)
    with Store.writer(run):
        told = here("repair", run, "--yes")
    assert told.code == 1
    assert "is being written by process" in told.err
    assert all((run / name).exists() for name in expected)


def swept_until(root: Path, nth: int, kill: Callable[[], None]) -> None:
    """A sweep that is killed before it removes its `nth` stray."""
    removed = iter(range(nth - 1))
    faults.hook = lambda when, step, path, data: (
        kill() if when == "before" and step == "sweep" and next(removed, None) is None else None
    )
    repair.sweep(root)


def test_repair_killed_half_way_is_finished_by_the_next_one(run: Path, plain: Any) -> None:
    litter(run)
    for nth in (1, 1, 3):
        assert plain.forked(lambda nth=nth: swept_until(run, nth, plain.kill_self)) == -9
        assert found(run) == []
    repair.sweep(run)
    assert repair.strays(Store.open(run)) == []
    assert found(run) == []
