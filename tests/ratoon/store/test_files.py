"""Files are whole or absent, made once, and a write that cannot be says why."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ratoon.errors import StoreError
from ratoon.store.files import LocalFiles

RACE = """
import sys, time
from pathlib import Path
from ratoon.store.files import LocalFiles
files, me = LocalFiles(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True); sys.stdin.readline()
won = []
for i in range(100):
    try:
        files.put_new(f"commits/{i:03d}", me.encode() * 1000)
        won.append(i)
    except FileExistsError:
        pass
print(*won)
"""

FULL = """
import resource, sys
from pathlib import Path
from ratoon.errors import StoreError
from ratoon.store.journal import Journal
from ratoon.store.files import LocalFiles
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
root = Path(sys.argv[1])
try:
    LocalFiles(root).put_new("big", b"x" * 10_000)
except StoreError as error:
    print(error.message); print(error.hint)
print(sorted(p.name for p in root.iterdir()))
journal = Journal(root / "a.log")
for i in range(100):
    try:
        journal.append([{"id": i, "text": "x" * 500}])
    except StoreError as error:
        print(error.message); break
print(i, len(journal.records()), journal.path.read_bytes().endswith(b"\\n"))
"""


def test_what_was_put_is_read_and_listed_until_it_is_deleted(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.put_new("a/b/c.bin", b"one")
    files.put_new("a/d", memoryview(b"two"))
    assert files.read("a/b/c.bin") == b"one"
    assert files.list() == ["a/b/c.bin", "a/d"]
    assert files.list("a/b") == ["a/b/c.bin"]
    assert files.list("none") == []
    files.delete("a/b")
    files.delete("a/b")
    assert files.list() == ["a/d"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.put_new("a", b"first")
    with pytest.raises(FileExistsError):
        files.put_new("a", b"second")
    assert files.read("a") == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a"], "no temporary name stays"


def test_hidden_names_are_never_listed_but_deleted_with_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".half.1.tmp").write_bytes(b"x")
    files = LocalFiles(tmp_path)
    assert files.list() == []
    files.delete("a")
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_that_want_one_name_exactly_one_gets_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racers = [subprocess.Popen([*command, me], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for me in "ab"]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [list(map(int, racer.communicate()[0].split())) for racer in racers]
    assert sorted(won[0] + won[1]) == list(range(100))
    for me, names in zip("ab", won, strict=True):
        assert all((tmp_path / f"commits/{i:03d}").read_bytes() == me.encode() * 1000 for i in names)


def test_of_many_threads_exactly_one_gets_the_name(tmp_path: Path) -> None:
    files, won = LocalFiles(tmp_path), []

    def claim(n: int) -> None:
        try:
            files.put_new("a", str(n).encode())
            won.append(n)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [files.read("a").decode()] == [str(n) for n in won]


def test_replacing_leaves_the_new_content_and_no_temporary_name(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.replace("config.json", b"1")
    files.replace("config.json", b"2")
    assert files.read("config.json") == b"2"
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_full_disk_is_told_with_what_to_do_and_leaves_nothing_half(tmp_path: Path) -> None:
    """A file size limit gives the same system error as a full disk does, without needing one."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    message, hint, names, journal, counts = done.stdout.splitlines()
    assert message.startswith(f"disk full: cannot write {tmp_path / 'big'}")
    assert hint.startswith("free space on the disk of")
    assert names == "[]"
    assert journal.startswith(f"disk full: cannot write {tmp_path / 'a.log'}")
    failed_at, kept, whole = counts.split()
    assert failed_at == kept != "0", "every record before the failing one is kept"
    assert whole == "True", "half a line was taken back"


def test_a_place_that_cannot_hold_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot write .*file/below: Not a directory"):
        LocalFiles(tmp_path).put_new("file/below", b"x")


def test_a_read_only_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    from ratoon.store.files import write_error

    error = write_error(tmp_path / "a", PermissionError(13, "Permission denied"))
    assert error.message == f"cannot write {tmp_path / 'a'}: Permission denied"
    assert f"make {tmp_path} writable" in error.hint
