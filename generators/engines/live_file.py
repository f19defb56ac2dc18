"""A small file that tells what an open engine does at the moment, for whoever looks in from another process."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_STALE_S = 10.0


class LiveFile:
    """Written anew each time, whole or not at all; a file that cannot be written is no reason to stop. Null writes none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Replace what it tells."""
        if self._path is not None:
            beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            with suppress(OSError):
                beside.write_text(json.dumps({"at": time.time(), "rows": rows}), encoding="utf-8")
                beside.replace(self._path)

    def remove(self) -> None:
        """Nothing is told any more."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def read_live(path: Path) -> list[dict[str, Any]]:
    """The rows last written; none where nothing was written in the last 10 s, as after a kill."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = told["rows"] if time.time() - told["at"] < _STALE_S else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return rows
