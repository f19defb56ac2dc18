"""An append-only log of finished work inside one shard; knows records (plain dicts), no tables.

Each record is one line, `CRC32 JSON`. A batch is one unbuffered write, so killing the process loses nothing that `append`
returned for; a power cut may lose the tail, which is dropped and cut off when the log is opened again. Long lists of one
number type are packed (base64 of little-endian values), because printing floats would cost more than everything else.
"""

from __future__ import annotations

import binascii
import json
import os
import sys
import threading
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratoon.errors import StoreError
from ratoon.store import faults
from ratoon.store.files import write_error

_PACK_FROM = 8
_PACKED = "$packed"
_encode = json.JSONEncoder(separators=(",", ":")).encode
_CODES = {float: "d", int: "i"}


class Journal:
    """The journal of one artifact. Safe for many threads of one process; the run's lock keeps other processes away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._fd: int | None = None

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write a batch; when this returns, the system has it. Raises StoreError, and then holds none of the batch."""
        data = b"".join(map(_line, records))
        with self._mutex:
            fd = self._open()
            try:
                start = os.fstat(fd).st_size
                faults.before("append", self.path, data)
                _write(fd, data, start)
                faults.after("append", self.path, data)
            except OSError as error:
                raise write_error(self.path, error) from error

    def records(self) -> list[dict[str, Any]]:
        """Every whole record in order of appending; a torn or damaged line is left out."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]  # without its line end a record is torn, even when all else of it is there
        return [record for line in whole.split(b"\n") if (record := _parse(line)) is not None]

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._mutex:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None

    def discard(self) -> None:
        """Remove the journal: what it holds is in a committed artifact now."""
        self.close()
        try:
            faults.before("unlink", self.path)
            self.path.unlink(missing_ok=True)
            faults.after("unlink", self.path)
        except OSError as error:
            raise write_error(self.path, error) from error

    def _open(self) -> int:
        if self._fd is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _cut_torn_tail(self.path)
                self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise write_error(self.path, error) from error
        return self._fd


def _write(fd: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        os.ftruncate(fd, start)  # the disk is full: half a batch would hide the next one behind a torn line
        raise


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        body = _encode(_packed(record)).encode()
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"a journal record is no plain JSON: {error}", "journal str, int, float, bool, None, list and dict"
        ) from error
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _packed(record: Mapping[str, Any]) -> dict[str, Any]:
    packed = dict(record)
    for key, value in record.items():
        kind = type(value)
        if (kind is list or kind is tuple) and len(value) >= _PACK_FROM:
            packed[key] = _pack(value)
        elif kind is dict and _PACKED in value:
            raise ValueError(f"the key {_PACKED!r} is taken")
    return packed


def _pack(value: Sequence[Any]) -> Any:
    """Numbers of one type as base64, anything else as it is."""
    kinds = set(map(type, value))
    code = _CODES.get(kinds.pop()) if len(kinds) == 1 else None
    if code is None:
        return value
    try:
        packed = array(code, value)
    except OverflowError:  # an int beyond 32 bits: plain JSON holds any
        return value
    return {_PACKED: code + binascii.b2a_base64(_little(packed).tobytes(), newline=False).decode()}


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None when the line is torn, damaged or empty."""
    try:
        if len(line) < 10 or line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        return {key: _unpack(value) for key, value in json.loads(line[9:]).items()}
    except ValueError:
        return None


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict) or _PACKED not in value:
        return value
    numbers = array(value[_PACKED][0])
    numbers.frombytes(binascii.a2b_base64(value[_PACKED][1:]))
    return _little(numbers).tolist()


def _little(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers


def _cut_torn_tail(path: Path) -> None:
    """Drop what follows the last whole line, so that the next record starts on a line of its own."""
    if not path.exists():
        return
    data = path.read_bytes()
    end = len(data)
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if data[end - 1 : end] == b"\n" and _parse(data[start : end - 1]) is not None:
            break
        end = start
    if end < len(data):
        os.truncate(path, end)
