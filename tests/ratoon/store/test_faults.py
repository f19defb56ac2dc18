"""Every step that writes passes the seam, in order, and with no hook nothing is called."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon.errors import StoreError
from ratoon.store import faults
from ratoon.store.files import LocalFiles
from ratoon.store.journal import Journal

Seen = list[tuple[str, str, str]]


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What the hook was told, while it is set."""
    told: Seen = []
    faults.hook = lambda when, step, path, data: told.append((when, step, path.name.split(".tmp")[0]))
    yield told
    faults.hook = None


def test_no_hook_is_set_by_default() -> None:
    assert faults.hook is None


def test_a_new_file_passes_write_fsync_rename_and_the_folder_s_fsync(seen: Seen, tmp_path: Path) -> None:
    LocalFiles(tmp_path).put_new("a.json", b"1")
    steps = [f"{when} {step}" for when, step, _ in seen]
    assert steps == ["before write", "after write", "before fsync", "after fsync", "before rename", "after rename",
                     "before fsync", "after fsync"]  # fmt: skip
    assert seen[4][2] == "a.json"
    assert seen[-1][2] == tmp_path.name


def test_a_journal_passes_append_and_unlink(seen: Seen, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.log")
    journal.append([{"id": 1}])
    journal.discard()
    assert seen == [(when, step, "a.log") for step in ("append", "unlink") for when in ("before", "after")]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_full_disk_at_any_step_leaves_no_file_and_says_so(tmp_path: Path, step: str) -> None:
    def full(when: str, at: str, path: Path, data: faults.Bytes) -> None:
        if at == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    faults.hook = full
    try:
        with pytest.raises(StoreError, match="disk full"):
            LocalFiles(tmp_path).put_new("a.json", b"1")
    finally:
        faults.hook = None
    assert list(tmp_path.iterdir()) == []
    LocalFiles(tmp_path).put_new("a.json", b"1")


def test_a_full_disk_in_the_journal_keeps_what_was_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.log")
    journal.append([{"id": 1}])

    def full(when: str, at: str, path: Path, data: faults.Bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    faults.hook = full
    try:
        with pytest.raises(StoreError, match="disk full"):
            journal.append([{"id": 2}])
    finally:
        faults.hook = None
    journal.append([{"id": 3}])
    assert [record["id"] for record in journal.records()] == [1, 3]
