"""The processes a run started, written down so that the next start can end those that outlived a kill; nothing else is touched.

A record is RUN/children/<pid>.json: the child by pid, process start time, boot and pid namespace, and its parent likewise. A
child is an orphan when it lives and its parent does not; a recycled pid has another start time and is left alone. A record that
this user's ratoon did not seal is a stranger's and ends nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ratoon.machine import state
from ratoon.store.files import LocalFiles
from ratoon.store.lock import Owner, current, owner_from, owner_of

FOLDER = "children"
_PATIENCE_S = 5.0


class Orphan(NamedTuple):
    """A child that outlived its parent."""

    what: str
    pid: int


class Children:
    """The records of one run; the run's lock keeps other writers away."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def started(self, pid: int, what: str) -> None:
        """Write down a child of this process; one that is gone already needs no record."""
        child = owner_of(pid)
        if child is not None:
            record = {"what": what, "child": asdict(child), "parent": asdict(current())}
            LocalFiles(self.root).replace(f"{FOLDER}/{pid}.json", json.dumps(record | {"seal": state.seal(record)}).encode())

    def end_own(self) -> None:
        """Ask every recorded child of this process to end, and wait for none."""
        me = current()
        for path in (self.root / FOLDER).glob("*.json"):
            _, child, parent, _ = _read(path)
            if parent == me and child is not None and child.alive():
                with contextlib.suppress(OSError):
                    os.kill(child.pid, signal.SIGTERM)

    def end_orphans(self) -> list[Orphan]:
        """End every recorded child whose parent is dead, and forget those that are gone; who was ended."""
        ended = []
        for path in sorted((self.root / FOLDER).glob("*.json")):
            what, child, parent, ours = _read(path)
            if child is not None and parent is not None:
                if not child.here() or (child.alive() and parent.alive()):
                    continue
                if child.alive() and not ours:
                    continue
                if child.alive():
                    _end(child)
                    ended.append(Orphan(what, child.pid))
            path.unlink(missing_ok=True)
        return ended


def _read(path: Path) -> tuple[str, Owner | None, Owner | None, bool]:
    """A record, and whether we sealed it; without owners where it is damaged, and is then only forgotten."""
    try:
        tree = json.loads(path.read_bytes())
        return str(tree["what"]), owner_from(tree["child"]), owner_from(tree["parent"]), state.is_ours(tree)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", None, None, False


def _end(child: Owner) -> None:
    """SIGTERM, then SIGKILL, to the child, or to its whole group when it leads one."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, number)
            else:
                os.kill(child.pid, number)
        end = time.monotonic() + _PATIENCE_S
        while child.alive() and time.monotonic() < end:
            time.sleep(0.02)
        if not child.alive():
            return
