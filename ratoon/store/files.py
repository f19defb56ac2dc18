"""The file system of a run: four verbs on names relative to its root; knows no table and no run.

What a verb leaves is whole or absent: bytes go to a hidden temporary name, are flushed, and only then get their own name.
A hidden name (leading dot) is never listed. Object stores fit behind the same verbs.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratoon.errors import StoreError
from ratoon.store import faults

Bytes = bytes | bytearray | memoryview
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
_serial = itertools.count()


class LocalFiles:
    """Four verbs on a local folder: all the file system that a run sees. Names are relative, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def put_new(self, name: str, data: Bytes) -> None:
        path = self.root / name
        if path.exists():
            raise FileExistsError(errno.EEXIST, "already written", str(path))
        with explained(path), _temporary(path, data) as temporary:
            faults.before("rename", path)
            _claim(temporary, path)
            faults.after("rename", path)

    def replace(self, name: str, data: Bytes) -> None:
        """Write or overwrite in one step: for what is a view or a sign of life, never for a record."""
        path = self.root / name
        with explained(path), _temporary(path, data) as temporary:
            faults.before("rename", path)
            os.replace(temporary, path)
            faults.after("rename", path)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def read_or(self, name: str, otherwise: bytes) -> bytes:
        """The file's bytes, or `otherwise` where it cannot be read."""
        try:
            return self.read(name)
        except OSError:
            return otherwise

    def list(self, prefix: str = "") -> list[str]:
        entries = []
        for folder, folders, names in os.walk(self.root / prefix):
            folders[:] = [f for f in folders if not f.startswith(".")]
            entries += [Path(folder, n).relative_to(self.root).as_posix() for n in names if not n.startswith(".")]
        return sorted(entries)

    def delete(self, name: str) -> None:
        path = self.root / name
        with explained(path):
            if path.is_dir() and not path.is_symlink():
                for child in path.iterdir():
                    self.delete(child.relative_to(self.root).as_posix())
                path.rmdir()
            else:
                faults.before("unlink", path)
                path.unlink(missing_ok=True)
                faults.after("unlink", path)


def write_error(path: Path, error: OSError) -> StoreError:
    """The error of a write that failed: what happened, where, and what mends it."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        hint = f"free space on the disk of {path.parent} (or raise the quota), then start again; nothing is lost"
        return StoreError(f"disk full: cannot write {path}: {reason}", hint)
    if error.errno in READ_ONLY:
        return StoreError(f"cannot write {path}: {reason}", f"make {path.parent} writable, or give another folder with --run")
    return StoreError(f"cannot write {path}: {reason}", "mend the file system there, then start again")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError while `path` is written into a StoreError with what mends it; FileExistsError stays."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def new_folder(folder: Path) -> Path:
    """An empty folder in the place of what a killed process left there; a link is removed, never followed."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _temporary(path: Path, data: Bytes) -> Iterator[Path]:
    """`data`, flushed, under a hidden name beside `path`; gone afterwards; then the folder itself is flushed."""
    _make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{next(_serial)}.tmp"
    try:
        with open(temporary, "xb", buffering=0) as file:
            faults.before("write", temporary, data)
            _write_all(file.fileno(), data)
            faults.after("write", temporary, data)
            faults.before("fsync", temporary)
            os.fsync(file.fileno())
            faults.after("fsync", temporary)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    faults.before("fsync", path.parent)
    _flush_folder(path.parent)
    faults.after("fsync", path.parent)


def _write_all(fd: int, data: Bytes) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _claim(temporary: Path, path: Path) -> None:
    """Give `temporary` its name unless somebody else has it: a hard link is exclusive, a rename is not."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here: the run's lock is then what keeps a second writer away.
        if path.exists():
            raise FileExistsError(errno.EEXIST, "already written", str(path)) from None
        os.rename(temporary, path)


def _make_folder(folder: Path) -> None:
    """The folder and its parents, each flushed into the one above, so that a power cut cannot lose the way to a file."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:  # a file lies in the way: not what "already written" means
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system whose folders cannot be flushed
            raise
    finally:
        os.close(fd)
