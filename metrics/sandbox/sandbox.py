"""Runs a script of ours beside code that a model wrote, where that code can reach nothing; knows no verifier.

bubblewrap gives it its own mount, process, network, user, IPC and host-name namespaces, no capability, a read-only system
without homes and an empty `/tmp` of bounded size; a seccomp filter refuses processes, sockets and what widens a sandbox;
rlimits bound CPU time, memory, file size and open files; the parent bounds wall time and output. `docs/security.md` says what
this does and does not defend.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ratoon.errors import RatoonError
from ratoon.metrics.sandbox.seccomp import filter_program

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
_NOBODY = "65534"
_LIMITS = """
import resource, sys
memory, cpu, size = map(int, sys.argv[1:4])
for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_FSIZE, size),
                    (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(kind, (value, value))
sys.argv[1:] = sys.argv[4:]
"""


class Limits(NamedTuple):
    """What one run may use."""

    wall_s: float = 2.0
    memory_mb: int = 256
    disk_mb: int = 16
    output_kb: int = 256


class Outcome(NamedTuple):
    """How a run ended (`done`, `timeout`, `output` when it wrote too much), its exit status and what it wrote."""

    ended: str
    code: int | None
    output: bytes


class NoSandbox(RatoonError):
    """This machine cannot make the sandbox, so nothing a model wrote is run on it."""


@cache
def require() -> None:
    """Raise NoSandbox, with what mends it, unless a sandbox can be made here. Asked once per process."""
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "aarch64"}:
        raise NoSandbox(
            f"model-written code needs a sandbox, and there is none for {platform.system()} on {platform.machine()}",
            "run on Linux (x86_64 or aarch64), or use another verifier",
        )
    if shutil.which("bwrap") is None:
        raise NoSandbox("model-written code needs a sandbox, and bubblewrap is not installed", "sudo apt install bubblewrap")
    outcome, said = _run(["-c", "print('in')"], b"", Limits(wall_s=20), ())
    if outcome.output != b"in\n":
        raise NoSandbox(
            f"bubblewrap cannot make a sandbox here: {said.strip()[-200:] or outcome.ended}",
            "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also "
            "kernel.apparmor_restrict_unprivileged_userns=0), or in a container allow them for it",
        )


def run(script: Path, job: object, limits: Limits, reads: Sequence[Path] = ()) -> Outcome:
    """What `script` (ours, standard library only, plus the packages in the folders `reads`) writes when given `job` as JSON on
    its standard input. Raises NoSandbox where the sandbox cannot be made."""
    require()
    source = script.read_text(encoding="utf-8")
    outcome, said = _run(["-c", source, *map(str, reads)], json.dumps(job).encode(), limits, reads)
    if said.startswith("bwrap:"):
        raise NoSandbox(f"bubblewrap failed: {said.strip()[-200:]}", "see `ratoon doctor`")
    return outcome


def _run(program: Sequence[str], given: bytes, limits: Limits, reads: Iterable[Path]) -> tuple[Outcome, str]:
    flag, source, *arguments = program
    memory, size = limits.memory_mb * 2**20, limits.disk_mb * 2**20
    cpu = int(limits.wall_s) + 1
    numbers = [str(memory), str(cpu), str(size)]
    with tempfile.TemporaryFile() as rules, tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        for file, content in ((rules, filter_program()), (stdin, given)):
            file.write(content)
            file.seek(0)
        command = [*_bwrap(rules.fileno(), size, reads), _python(), "-I", "-S", flag, _LIMITS + source, *numbers, *arguments]
        child = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, pass_fds=[rules.fileno()], start_new_session=True,
            env={"PATH": "/usr/bin", "LANG": "C.UTF-8"},  # bwrap's own environment can be read inside, as that of process 1
        )  # fmt: skip
        try:
            ended, output = _read(child, limits)
        finally:
            child.kill()  # process 1 of its namespace: all of it ends
            child.wait()
        stderr.seek(0)
        said = stderr.read(4096).decode(errors="replace")
    return Outcome(ended, child.returncode if ended == "done" else None, output), said


def _bwrap(rules: int, size: int, reads: Iterable[Path]) -> list[str]:
    system = [word for path in _SYSTEM if os.path.lexists(path) for word in ("--ro-bind", path, path)]
    own = [word for path in (sys.base_prefix, *reads) for word in ("--ro-bind", str(path), str(path))]
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", *system,
        # Before what is ours: an environment that lies in /tmp would be hidden by it.
        "--size", str(size), "--tmpfs", "/tmp", *own,
        # Where ratoon runs as root, the kernel takes this process for root on /proc/sys, whatever it is called inside.
        "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--remount-ro", "/", "--chdir", "/tmp", "--clearenv",
        "--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8", "--seccomp", str(rules),
    ]  # fmt: skip


def _python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


def _read(child: subprocess.Popen[bytes], limits: Limits) -> tuple[str, bytes]:
    """Output until it ends, is too much, or time is up."""
    assert child.stdout is not None
    end, most, got = time.monotonic() + limits.wall_s, limits.output_kb * 1024, b""
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            return "timeout", got
        piece = os.read(child.stdout.fileno(), 65536)
        if not piece:
            break
        got += piece
        if len(got) > most:
            return "output", got[:most]
    try:
        child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout", got
    return "done", got
