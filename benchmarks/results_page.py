"""Where the studies write: each its own section of docs/results.md, and on what machine."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def machine() -> str:
    """Cores, architecture, GPU or none, and the date."""
    gpu = "a GPU" if any(Path("/dev").glob("nvidia[0-9]*")) else "no GPU"
    return f"{os.cpu_count()} shared CPU cores, {platform.machine()}, {gpu}; {datetime.now(UTC).date()}"


def told(command: str, sets: Sequence[str]) -> str:
    """A command with the settings it was given, as a shell takes them."""
    return shlex.join([*command.split(), *(word for item in sets for word in ("--set", item))])


def write_section(path: Path, heading: str, mark: str, text: str) -> None:
    """Replace what stands between `mark` and the next second-level heading; a page without the mark is given the section."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    if mark not in page:
        page = f"{page.rstrip()}\n\n{heading}\n\n{mark}\n"
    head, _, rest = page.partition(mark)
    tail = rest[rest.index("\n## ") :] if "\n## " in rest else ""
    path.write_text(head + text + tail, encoding="utf-8")
    print(text)
