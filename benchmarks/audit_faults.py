"""Does the audit name what was planted, and keep silent where nothing was?

    python benchmarks/audit_faults.py [--seeds 20] [--first 0] [--tasks 40] [--replies 4] [--only "label flip" …] [--medium]

Per seed two halves of one clean data set (`audit_corpus.py`) are drawn; one is spoilt in one way and audited against the
other, by `ratoon audit`'s own function on files, with an evaluation set named. Bars: the fault's own code in 95 % of seeds; no
warning at all on clean halves in 95 %. Exit code 1 where a bar is missed. Limits were tuned on seeds from 1000 on, pool 1.

Faults that only embeddings show, and the clean halves, are audited at tier medium; the others at tier cheap, whose numbers are
the same at both (`--medium`: all of them; an hour of embedding on a laptop).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from audit_corpus import BENCHMARK, FAULTS, Rows, nothing, pool

from ratoon.pipelines.audit.audit import audit
from ratoon.pipelines.recipe.sections import AuditConfig

BAR = 0.95
MEANING = ("paraphrase collapse", "mode collapse", "nothing")
_COLUMNS = ("prompt", "completion", "gold", "passed")


def write(rows: Rows, path: Path) -> Path:
    """The rows as a stranger would have them: no ids, no answers, no finish reasons."""
    pq.write_table(pa.Table.from_pylist([{name: row[name] for name in _COLUMNS} for row in rows]), path)
    return path


def halves(tasks: list[Rows], size: int, seed: int) -> tuple[list[Rows], list[Rows], np.random.Generator]:
    """Two disjoint sets of `size` tasks, and the seed's generator."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(tasks))[: 2 * size]
    return [tasks[i] for i in order[:size]], [tasks[i] for i in order[size:]], rng


def codes(now: Rows, was: Rows, folder: Path, cheap: bool) -> list[str]:
    """The codes of the warnings on `now` against `was`."""
    benchmark = folder / "benchmark.jsonl"
    benchmark.write_text("".join(json.dumps({"question": item}) + "\n" for item in BENCHMARK), encoding="utf-8")
    config = AuditConfig(benchmarks=(str(benchmark),), tier="cheap" if cheap else "medium")
    found = audit(write(now, folder / "now.parquet"), write(was, folder / "was.parquet"), config=config)
    return [warning["code"] for warning in found.report["warnings"]]


def one(fault: str, tasks: list[Rows], size: int, seed: int, medium: bool = False) -> list[str]:
    """The codes of one seed of one fault (or of `nothing`)."""
    was, now, rng = halves(tasks, size, seed)
    spoil = FAULTS[fault][1] if fault in FAULTS else nothing
    with tempfile.TemporaryDirectory(prefix="ratoon-faults-") as folder:
        cheap = not (medium or fault in MEANING)
        return codes(spoil(now, rng), nothing(was, rng), Path(folder), cheap)


def main(args: Any) -> int:
    """Print the table; 0 where both bars are met."""
    tasks = pool(5 * args.tasks, args.replies, args.pool)
    names = args.only or [*FAULTS, "nothing"]
    print(f"| planted | its code | named in | seeds | others that fired | s a seed |\n|{'---|' * 6}")
    missed = []
    for name in names:
        started = time.perf_counter()
        found = [one(name, tasks, args.tasks, args.first + seed, args.medium) for seed in range(args.seeds)]
        code = FAULTS[name][0] if name in FAULTS else "no warning"
        hit = sum(code in mine if name in FAULTS else not mine for mine in found)
        others = Counter(c for mine in found for c in set(mine) if c != code)
        told = ", ".join(f"{c} {n}" for c, n in others.most_common()) or "none"
        seconds = (time.perf_counter() - started) / args.seeds
        print(f"| {name} | `{code}` | {hit} | {args.seeds} | {told} | {seconds:.1f} |", flush=True)
        if hit < BAR * args.seeds:
            missed.append(name)
    print(f"\nmissed: {', '.join(missed)}" if missed else f"\nevery bar ({100 * BAR:.0f} %) is met")
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--replies", type=int, default=4)
    parser.add_argument("--pool", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--medium", action="store_true")
    sys.exit(main(parser.parse_args()))
