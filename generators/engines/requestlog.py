"""The engine's own record of what it was asked, one request id per line; knows no engine.

Written before a request is sent, straight to the file, so that after a kill it proves that nothing journaled was asked twice.
"""

from __future__ import annotations

import os
from pathlib import Path

from ratoon.store.files import write_error


class RequestLog:
    """Appends ids to `path`, from any thread; with no path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd: int | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            except OSError as error:
                raise write_error(path, error) from error

    def sent(self, request_id: str) -> None:
        """One whole line in one write, so that threads and processes never tear each other's. Raises StoreError."""
        if self._fd is not None and self._path is not None:
            try:
                os.write(self._fd, f"{request_id}\n".encode())
            except OSError as error:
                raise write_error(self._path, error) from error

    def close(self) -> None:
        """Release the file; closing twice is no error."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
