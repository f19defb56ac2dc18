"""The command that makes a sandbox, guard by guard; knows no verifier and no clock.

bubblewrap gives its own mount, process, network, user, IPC and host-name namespaces, no capability, a read-only system without
homes and an empty `/tmp` of bounded size; a seccomp filter refuses processes, sockets, memory that no limit counts, and what
widens a sandbox; rlimits bound CPU time, memory, file size and open files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from ratoon.metrics.sandbox.limits import Limits

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
_NOBODY = "65534"
_ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # each thread of a linear-algebra library takes its share of the address space
    "OMP_NUM_THREADS": "1",
}
# What runs first inside: the limits, the values module, and what `python -S` leaves out.
PRELUDE = """
import builtins, resource, sys, types, _sitebuiltins
memory, cpu, size = map(int, sys.argv[1:4])
for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_FSIZE, size),
                    (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(kind, (value, value))
sys.argv[1:] = sys.argv[4:]
builtins.exit, builtins.quit = _sitebuiltins.Quitter("exit", ""), _sitebuiltins.Quitter("quit", "")
sys.modules["values"] = types.ModuleType("values")
exec(compile({values!r}, "values", "exec"), vars(sys.modules["values"]))
"""


def command(rules: int, status: int, limits: Limits, reads: Iterable[str]) -> list[str]:
    """The words of the command, up to the interpreter; `rules` and `status` are open files."""
    without = limits.without
    system = [word for path in _SYSTEM if os.path.lexists(path) for word in ("--ro-bind", path, path)]
    if "system only" in without:
        system = ["--ro-bind", "/", "/"]
    own = [word for path in (sys.base_prefix, *reads) for word in ("--ro-bind", path, path)]
    shut = [f"--unshare-{space}" for space in ("user", "ipc", "uts", "cgroup-try")]
    shut += ["--unshare-net"] * ("network" not in without) + ["--unshare-pid", "--as-pid-1"] * ("processes" not in without)
    size = [] if "folder size" in without else ["--size", str(limits.disk_mb * 2**20)]
    # Where ratoon runs as root, the kernel takes this process for root on /proc/sys, whatever it is called inside.
    locked = [] if "read-only" in without else ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [
        "bwrap", *shut, "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", *system,
        # Before what is ours: an environment that lies in /tmp would be hidden by it.
        *size, "--tmpfs", "/tmp", *own, "--proc", "/proc", "--dev", "/dev", *locked, "--chdir", "/tmp", "--clearenv",
        *(word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)),
        "--json-status-fd", str(status), *([] if "calls" in without else ["--seccomp", str(rules)]),
    ]  # fmt: skip


def interpreter(limits: Limits, script: str, arguments: Iterable[str], values: str) -> list[str]:
    """The interpreter itself, not a virtual environment's link to it, and what it runs."""
    memory = 2**40 if "memory" in limits.without else limits.memory_mb * 2**20
    numbers = [memory, int(limits.wall_s) + 1, limits.disk_mb * 2**20 if "folder size" not in limits.without else 2**40]
    python = os.path.realpath(sys.executable)
    return [python, "-I", "-S", "-c", PRELUDE.format(values=values) + script, *map(str, numbers), *arguments]
