"""One process in a sandbox: started, read, watched, ended; knows no script and no verifier.

How it went is read from bubblewrap's own channel, which is not open inside: what a program writes to its standard error says
nothing. Threads and files, which no limit of the kernel's counts for root, are counted from outside while it runs.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, NamedTuple

from ratoon.metrics.sandbox import bubblewrap
from ratoon.metrics.sandbox.limits import Limits, Outcome
from ratoon.metrics.sandbox.seccomp import filter_program

_LOOK_S = 0.05


class Child(NamedTuple):
    """A started sandbox, and the files that bubblewrap tells its status and its complaints in."""

    process: subprocess.Popen[bytes]
    status: IO[bytes]
    stderr: IO[bytes]

    def pid(self) -> int | None:
        """The process inside, by its number outside; None before it is there."""
        return self._told().get("child-pid")

    def code(self) -> int | None:
        """The exit status of the program inside; None where bubblewrap could not start it, or it was killed from here."""
        return self._told().get("exit-code")

    def complaint(self) -> str:
        """The last words on its standard error."""
        return os.pread(self.stderr.fileno(), 4096, 0).decode(errors="replace").strip()[-200:]

    def _told(self) -> dict[str, int]:
        told: dict[str, int] = {}
        for line in os.pread(self.status.fileno(), 4096, 0).splitlines():
            with suppress(ValueError):
                told |= json.loads(line)
        return told


@contextmanager
def started(
    script: str, given: bytes, limits: Limits, reads: Sequence[str], arguments: Sequence[str], values: str = "",
    pipes: Sequence[int] = (),
) -> Iterator[Child]:  # fmt: skip
    """A sandbox that runs `script`, with `given` as its standard input and the open files `pipes`; killed at the end."""
    with (
        tempfile.TemporaryFile() as rules, tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr,
        tempfile.TemporaryFile() as status,
    ):  # fmt: skip
        for file, content in ((rules, filter_program()), (stdin, given)):
            file.write(content)
            file.seek(0)
        command = bubblewrap.command(rules.fileno(), status.fileno(), limits, reads)
        process = subprocess.Popen(
            [*command, *bubblewrap.interpreter(limits, script, arguments, values)], stdin=stdin, stdout=subprocess.PIPE,
            stderr=stderr, pass_fds=[rules.fileno(), status.fileno(), *pipes], start_new_session=True,
            env={"PATH": "/usr/bin", "LANG": "C.UTF-8"},  # bwrap's own environment can be read inside
        )  # fmt: skip
        try:
            yield Child(process, status, stderr)
        finally:
            process.kill()  # the process inside dies with it
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def read(child: Child, limits: Limits, watched: Sequence[Child]) -> Outcome:
    """What it writes until it ends, is too much, or time is up; all of `watched` are kept within their threads and files."""
    assert child.process.stdout is not None
    stream, got = child.process.stdout.fileno(), b""
    end = time.monotonic() + limits.wall_s
    while (left := end - time.monotonic()) > 0:
        if not select.select([stream], [], [], min(left, _LOOK_S))[0]:
            if too_much := next((what for one in watched if (what := _excess(one, limits))), None):
                return Outcome(too_much, None, got)
            continue
        piece = os.read(stream, 65536)
        if not piece:
            break
        got += piece
        if len(got) > limits.output_kb * 1024:
            return Outcome("output", None, got[: limits.output_kb * 1024])
    if left <= 0 or not _ended(child, end - time.monotonic()):
        return Outcome("timeout", None, got)
    too_much = next((what for one in watched if (what := _excess(one, limits))), None)
    return Outcome(too_much or "done", child.code(), got)


def _ended(child: Child, seconds: float) -> bool:
    try:
        child.process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return False
    return True


def _excess(child: Child, limits: Limits) -> str | None:
    """The limit that the process inside has passed; None where there is none, or no process."""
    with suppress(OSError):
        if (pid := child.pid()) is None:
            return None
        if "threads" not in limits.without and len(os.listdir(f"/proc/{pid}/task")) > limits.threads:
            return "threads"
        if "files" not in limits.without and _files(f"/proc/{pid}/root/tmp") > limits.files:
            return "files"
    return None


def _files(path: str) -> int:
    """Files in the folder inside; none while it is still this machine's own. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        counts = os.fstatvfs(folder)
        outside = os.fstat(folder).st_dev == os.stat("/tmp").st_dev
    finally:
        os.close(folder)
    return 0 if outside else counts.f_files - counts.f_ffree
