"""A run broken at every point where it writes ends as one that nobody broke: nothing lost, doubled or paid for twice."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import StoreError
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.store import faults
from ratoon.store.store import Store

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def verifiers() -> Iterator[VerifierPool]:
    with VerifierPool(1) as pool:
        yield pool


def swept(*arguments: str) -> dict[str, Any]:
    """The report of a sweep in a process of its own: it forks, so no other thread may be there."""
    command = [sys.executable, str(BENCHMARKS / "faults.py"), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_at_commit_points_in_turn_nothing_is_lost_doubled_or_paid_for_twice(full_size: bool) -> None:
    """One point of each kind; under `make soak` every point there is."""
    report = swept("sweep") if full_size else swept("sweep", "--kinds", "--processes", "1")
    assert report["points"] > (1000 if full_size else 50)
    assert report["missed"] == []
    assert report["kills"] >= report["points"]
    assert set(report["wrong"].values()) == {0}, report["wrong"]
    if full_size:
        assert report["safe_seen"] == 24, "every rollout was at some kill in a journal, so that asking it again would be seen"
    assert report["safe_seen"] > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_kill_on_an_untouched_run_at_some_points_changes_nothing(full_size: bool) -> None:
    report = swept("alone", "--every", "97") if full_size else swept("alone", "--kinds", "--every", "14", "--processes", "1")
    assert report["kills"] >= (10 if full_size else 4)
    assert report["missed"] == []
    assert set(report["wrong"].values()) == {0}, report["wrong"]


def test_a_disk_that_is_full_at_any_write_is_told_and_with_room_again_nothing_is_lost(
    plain: Any, verifiers: VerifierPool, tiny_model: Path, tmp_path: Path
) -> None:
    config = plain.recipe(tiny_model)
    plain.run(tmp_path / "whole", config, verifiers)
    whole = plain.slots(list(Store.open(tmp_path / "whole").live().values()))
    rooms = range(0, 400, 13)  # each start goes on from the last, so that the fullness moves through the run
    told = [error for room in rooms if (error := broken(lambda: plain.run(tmp_path / "run", config, verifiers), room))]
    assert len(told) > 3
    assert all("disk full: cannot write" in error.message and "nothing is lost" in error.hint for error in told)
    store = Store.open(tmp_path / "run")
    assert plain.slots(list(store.live().values())) == whole
    assert store.verify() == []
    assert set(plain.asked(tmp_path / "run")) == set(plain.asked(tmp_path / "whole"))


def test_a_clock_that_goes_backwards_changes_no_content_and_no_order(
    plain: Any, verifiers: VerifierPool, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plain.recipe(tiny_model)
    plain.run(tmp_path / "whole", config, verifiers)
    hours = iter(range(10_000))

    def earlier() -> str:
        return (datetime(2030, 1, 1, tzinfo=UTC) - timedelta(hours=next(hours))).isoformat()

    monkeypatch.setattr("ratoon.store.commit_log.now", earlier)
    monkeypatch.setattr("ratoon.store.store.now", earlier)
    plain.run(tmp_path / "run", config, verifiers)
    stores = [Store.open(tmp_path / name) for name in ("whole", "run")]
    assert stores[1].commits()[0].at > stores[1].commits()[-1].at
    assert plain.slots(list(stores[0].live().values())) == plain.slots(list(stores[1].live().values()))
    assert [m.stage for m in stores[0].live().values()] == [m.stage for m in stores[1].live().values()]
    assert stores[1].verify() == []
    plain.run(tmp_path / "run", config, verifiers)
    assert len(Store.open(tmp_path / "run").commits()) == len(stores[1].commits()), "nothing is made again"


def test_a_folder_that_turns_read_only_is_told_and_nothing_is_lost(
    plain: Any, verifiers: VerifierPool, tiny_model: Path, tmp_path: Path
) -> None:
    config = plain.recipe(tiny_model)
    plain.run(tmp_path / "whole", config, verifiers)
    error = broken(lambda: plain.run(tmp_path / "run", config, verifiers), 40, errno.EROFS)
    assert error is not None
    assert "Read-only file system" in error.message
    assert "make" in error.hint
    assert "writable" in error.hint
    plain.run(tmp_path / "run", config, verifiers)
    whole, run = (plain.slots(list(Store.open(tmp_path / name).live().values())) for name in ("whole", "run"))
    assert run == whole


def room_for(n: int, error: int) -> faults.Hook:
    """A disk that takes `n` more writes."""
    left = iter(range(n))

    def hook(when: str, step: str, path: Path, data: faults.Bytes) -> None:
        if when == "before" and step in ("write", "append") and next(left, None) is None:
            raise OSError(error, os.strerror(error))

    return hook


def broken(work: Callable[[], None], room: int, error: int = errno.ENOSPC) -> StoreError | None:
    """The error of `work` on a disk that takes so many writes."""
    faults.hook = room_for(room, error)
    try:
        work()
    except StoreError as told:
        return told
    finally:
        faults.hook = None
    return None
