"""The seam at which tests break a run: a call before and after every step that writes; nothing happens unless `hook` is set.

A step is `write`, `fsync`, `rename`, `unlink`, `append` or `swap`. The hook may end the process, as `kill -9` does, or raise
an OSError, as a full disk does. Only tests and benchmarks set it; no flag, field or environment variable does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Bytes = bytes | bytearray | memoryview
Hook = Callable[[str, str, Path, Bytes], None]

hook: Hook | None = None
"""Called as `hook(when, step, path, data)`: `when` is `before` or `after`, `data` what is about to be or was written."""


def before(step: str, path: Path, data: Bytes = b"") -> None:
    """The step has not begun."""
    if hook is not None:
        hook("before", step, path, data)


def after(step: str, path: Path, data: Bytes = b"") -> None:
    """The step is done."""
    if hook is not None:
        hook("after", step, path, data)
