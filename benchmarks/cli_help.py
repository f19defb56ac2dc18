"""How long `ratoon --help` takes beside a typer app with as many empty commands: `python benchmarks/cli_help.py [RUNS]`.

The bar: at most 1.5 times. Both are started in turn (A/B/A/B) as a user starts them, and the medians compared; on a busy
machine look at the processor seconds, which other processes stretch less than they stretch the wall time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

BAR = 1.5
_APP = """import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
{commands}
app()
"""
_COMMAND = """
@app.command()
def command{i}() -> None:
    \"\"\"Do nothing, number {i}.\"\"\"

"""


def empty_app(commands: int) -> str:
    """The source of a typer app with so many empty commands."""
    return _APP.format(commands="".join(_COMMAND.format(i=i) for i in range(commands)))


def once(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one start. Raises CalledProcessError when it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(runs: int) -> dict[str, float | int | str]:
    """Medians of both, and their ratios."""
    import typer.main

    from ratoon.cli.app import app

    commands = len(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.py")
        empty.write_text(empty_app(commands))
        ours = [str(Path(sys.executable).with_name("ratoon")), "--help"]
        theirs = [sys.executable, str(empty), "--help"]
        once(ours), once(theirs)  # byte code and disk cache
        pairs = [(once(ours), once(theirs)) for _ in range(runs)]
    walls, cpus = ([(a[i], b[i]) for a, b in pairs] for i in (0, 1))
    wall_a, wall_b = (median(pair[i] for pair in walls) for i in (0, 1))
    cpu_a, cpu_b = (median(pair[i] for pair in cpus) for i in (0, 1))
    return {
        "date": datetime.now(UTC).date().isoformat(), "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1), "commands": commands, "runs": runs,
        "ratoon_s": wall_a, "empty_s": wall_b, "ratio": wall_a / wall_b,
        "ratoon_cpu_s": cpu_a, "empty_cpu_s": cpu_b, "cpu_ratio": cpu_a / cpu_b, "bar": BAR,
    }  # fmt: skip


def main() -> None:
    report = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
    print(json.dumps(report, indent=2, default=str))


if __name__ == "__main__":
    main()
