"""What one run in the sandbox may use, how it ended, and the guards that hold it; knows no process."""

from __future__ import annotations

from typing import NamedTuple

from ratoon.errors import RatoonError

# Each guard by name, and what it keeps out. `docs/security.md` has the same list; the tests take out each in turn.
GUARDS = {
    "system only": "homes, runs and everything else that is no part of the system",
    "read-only": "writing outside its own folder, and the kernel's settings",
    "network": "this machine's own servers, and all others",
    "processes": "signals to processes outside, and their environments in /proc",
    "calls": "new processes, sockets, memory that no limit counts, wider namespaces",
    "memory": "more address space than memory_mb",
    "folder size": "more than disk_mb of files",
    "threads": "more threads than a program needs",
    "files": "more files than a program needs",
}


class Limits(NamedTuple):
    """What one run may use; `without` names guards that are left out, which only the tests of the guards do."""

    wall_s: float = 2.0
    memory_mb: int = 256
    disk_mb: int = 16
    output_kb: int = 256
    threads: int = 64
    files: int = 1024
    without: frozenset[str] = frozenset()


class Outcome(NamedTuple):
    """How a run ended (`done`, `timeout`, or the limit it passed: `output`, `threads`, `files`), its status, what it wrote."""

    ended: str
    code: int | None
    output: bytes


class NoSandbox(RatoonError):
    """This machine cannot make the sandbox, so nothing a model wrote is run on it."""
