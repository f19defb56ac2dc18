"""Whatever the end of the file looks like, the journal yields the records that were whole before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.errors import StoreError
from ratoon.store.journal import Journal

VALUE = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.lists(st.integers(-(2**40), 2**40), max_size=12) | st.lists(st.floats(allow_nan=False), max_size=12)
    | st.lists(st.booleans() | st.integers(0, 3), min_size=8, max_size=12) | st.dictionaries(st.text(max_size=2), st.integers())
)  # fmt: skip
RECORDS = st.lists(st.dictionaries(st.text(max_size=4), VALUE, max_size=4), max_size=6)


def journal_of(records: list[dict[str, Any]], folder: str | Path) -> Journal:
    journal = Journal(Path(folder) / "journal" / "a.log")
    for record in records:
        journal.append([record])
    return journal


@settings(deadline=None)
@given(RECORDS)
def test_records_come_back_exactly(records: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert repr(journal_of(records, folder).records()) == repr(records)


@settings(deadline=None)
@given(RECORDS, st.data())
def test_any_truncation_leaves_a_prefix_and_appending_goes_on(records: list[dict[str, Any]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_of(records, folder)
        journal.close()
        whole = journal.path.read_bytes() if records else b""
        cut = data.draw(st.integers(0, len(whole)))
        if records:
            os.truncate(journal.path, cut)
        left = Journal(journal.path)
        expected = records[: whole[:cut].count(b"\n")]
        assert left.records() == expected
        left.append([{"later": 1}])
        assert left.records() == [*expected, {"later": 1}]


def test_a_record_without_its_line_end_is_torn(tmp_path: Path) -> None:
    journal = journal_of([{"id": 1}, {"id": 2}], str(tmp_path))
    journal.close()
    os.truncate(journal.path, journal.path.stat().st_size - 1)
    left = Journal(journal.path)
    assert left.records() == [{"id": 1}]
    left.append([{"id": 3}])
    assert left.records() == [{"id": 1}, {"id": 3}]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_flipped_bit_loses_no_other_record(data: st.DataObject) -> None:
    records = [{"id": i, "token_ids": list(range(20)), "logprobs": [0.5] * 20} for i in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_of(records, folder)
        damaged = bytearray(journal.path.read_bytes())
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        journal.path.write_bytes(damaged)
        line = bytes(journal.path.read_bytes()[:at]).count(b"\n")
        left = journal.records()
        assert all(record in records for record in left)
        # A flip that makes or breaks a line end joins or splits two lines; anything else costs only its own.
        assert [r for i, r in enumerate(records) if i not in (line, line + 1)] == [
            r for r in left if r["id"] not in (line, line + 1)
        ]


def test_a_torn_tail_is_cut_off_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    journal = journal_of([{"id": 1}, {"id": 2}], tmp_path)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b"0bad")
    Journal(journal.path).append([{"id": 3}])
    assert journal.path.read_bytes().count(b"\n") == 3
    assert [r["id"] for r in journal.records()] == [1, 2, 3]


def test_a_killed_process_loses_nothing_it_appended(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time; from ratoon.store.journal import Journal\n"
        "j = Journal(pathlib.Path(sys.argv[1]))\n"
        "for i in range(10**6):\n    j.append([{'id': i}]); print(i, flush=True)\n"
    )
    path = tmp_path / "a.log"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().splitlines()[:-1]]
    process.wait()
    assert [r["id"] for r in Journal(path).records()][: len(told)] == told


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.log")
    threads = [threading.Thread(target=lambda t=t: [journal.append([{"t": t, "i": i}]) for i in range(50)]) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((r["t"], r["i"]) for r in journal.records()) == [(t, i) for t in range(4) for i in range(50)]


def test_what_is_no_json_is_refused_and_nothing_of_the_batch_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.log")
    with pytest.raises(StoreError, match="no plain JSON"):
        journal.append([{"id": 1}, {"id": object()}])
    with pytest.raises(StoreError, match="no plain JSON"):
        journal.append([{"x": {"$packed": "d"}}])
    assert journal.records() == []


def test_a_discarded_journal_is_gone_and_can_start_anew(tmp_path: Path) -> None:
    journal = journal_of([{"id": 1}], tmp_path)
    journal.discard()
    journal.discard()
    assert not journal.path.exists()
    journal.append([{"id": 2}])
    assert journal.records() == [{"id": 2}]
