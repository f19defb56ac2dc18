"""How long an audit takes: cheap tier over many rows, from stored numbers and from bare text; medium tier of a sample.

    python benchmarks/audit_tiers.py cheap [ROWS] [--folder DIR]   a run folder of ROWS rollouts of 100 words; default 1,000,000
    python benchmarks/audit_tiers.py file [ROWS] [--folder DIR]    the same texts as a stranger's Parquet file
    python benchmarks/audit_tiers.py medium [ROWS]                ROWS replies of some 60 words, no vector known; default 5,000

Bars (two cores): a million rows under 60 s with lint and near-duplicate edges stored, under 6 minutes from bare text; medium
under 4 minutes. Prints wall and processor seconds, what every part took, and peak memory. A folder that is given is kept and
used again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from audit_corpus import pool
from curation_corpus import planted

from ratoon import schema
from ratoon.metrics.text import minhash
from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.pipelines.runtime.stage import key
from ratoon.store.store import Counts, Manifest, Store

SHARD = 50_000


def put(
    store: Store, stage: str, iteration: int | None, shard: str | None, inputs: list[Manifest] | None = None,
    versions: dict[str, str] | None = None, **tables: pa.Table,
) -> Manifest:  # fmt: skip
    """One artifact, as the flow would commit it."""
    n = next(iter(tables.values())).num_rows
    extra = {"dataset_id": "d", "curation_id": "c"} if stage == "curate" else None
    return store.put(key(stage, iteration, shard, inputs=inputs or [], versions=versions), tables, Counts(n, n), extra=extra)


def texts(n: int, salt: int) -> pa.Array:
    """`n` texts of 100 words, other ones for every salt."""
    found = planted(min(n, SHARD), 100)["text"].combine_chunks().slice(0, n)
    return pc.replace_substring_regex(found, pattern=r"(\w)e ", replacement=rf"\1{'aiou'[salt % 4]}{salt} ")


def run_folder(root: Path, rows: int) -> None:
    """A run of one round: 8 rollouts a task, verdicts, groups, decisions, near-duplicate edges; no lint yet."""
    edges = minhash.edge_version(load("smoke", []).curation.minhash)
    with Store.writer(root, {}) as store:
        n = (rows + 7) // 8
        tasks = [
            {"task_id": f"t{i:08d}", "problem_key": f"k{i:08d}", "family": f"f{i % 7}", "answer": str(i % 97), "split": "train",
             "messages": [{"role": "user", "content": f"Question {i}: what is {i % 50} plus {i % 47}? Reply with the number."}]}
            for i in range(n)
        ]  # fmt: skip
        pool = put(store, "tasks", 0, None, tasks=schema.from_rows("tasks", tasks))
        prompts = put(store, "prompts", 0, None, prompts=schema.empty("prompts"))
        put(store, "assign", 1, "train", [pool, prompts], assignments=schema.empty("assignments"))
        for number, start in enumerate(range(0, rows, SHARD)):
            _shard(store, number, start, min(SHARD, rows - start))
        groups = {"group_id": [f"g{i:08d}" for i in range(n)], "task_id": [f"t{i:08d}" for i in range(n)],
                  "iteration": [1] * n, "scorer": ["numeric"] * n, "label_source": ["verifier"] * n, "n": [8] * n,
                  "n_valid": [8] * n,
                  "n_passed": [4] * n, "pass_rate": [0.5] * n, "vote": [str(i % 97) for i in range(n)],
                  "vote_share": [0.5] * n}  # fmt: skip
        put(store, "groups", 1, "train", groups=schema.from_columns("groups", groups, n))
        twins = [{"kind": "minhash", "a_id": f"r_{i:024x}", "b_id": f"r_{i + 1:024x}", "similarity": 0.9, "version": edges}
                 for i in range(0, rows - 1, 200)]  # fmt: skip
        put(store, "near", 1, "train", versions={"edges": edges}, edges=schema.from_rows("edges", twins))
        put(store, "matched", 1, "train", edges=schema.empty("edges"))
        at = range(rows)
        decided = {"curation_id": ["c"] * rows, "step": [0] * rows, "subject_kind": ["rollout"] * rows,
                   "subject_id": [f"r_{i:024x}" for i in at], "filter": ["verified"] * rows, "keep": [i % 2 == 0 for i in at],
                   "reason": [None if i % 2 == 0 else "unverified:fail" for i in at]}  # fmt: skip
        put(store, "curate", 1, "default", decisions=schema.from_columns("decisions", decided, rows))


def _shard(store: Store, number: int, start: int, n: int) -> None:
    ids, at = [f"r_{start + i:024x}" for i in range(n)], [f"{(start + i) // 8:08d}" for i in range(n)]
    rollouts = {"rollout_id": ids, "task_id": [f"t{a}" for a in at], "group_id": [f"g{a}" for a in at], "iteration": [1] * n,
                "text": texts(n, number), "finish_reason": ["stop"] * n}  # fmt: skip
    scores = {"subject_kind": ["rollout"] * n, "subject_id": ids, "scorer": ["numeric"] * n, "repeat": [0] * n,
              "answer": [str(i % 97) for i in range(n)],
              "status": ["pass" if i % 2 == 0 else "fail" for i in range(n)]}  # fmt: skip
    put(store, "rollouts", 1, f"train-{number:04d}", rollouts=schema.from_columns("rollouts", rollouts, n))
    put(store, "scores", 1, f"train-{number:04d}", scores=schema.from_columns("scores", scores, n))


def timed(what: str, subject: Path, config: AuditConfig, out: Path) -> dict[str, Any]:
    """One audit with everything it writes; seconds by what was said."""
    said: list[tuple[str, float]] = []
    started, cpu = time.perf_counter(), time.process_time()
    found = auditing.audit(subject, config=config, say=lambda line: said.append((line.split(" ")[0], time.perf_counter())))
    said.append(("writing", time.perf_counter()))
    auditing.write(found, out / "report.html")
    ended = time.perf_counter()
    stops = [at for _, at in said[1:]] + [ended]
    return {"what": what, "rows": found.report["subject"]["rows"], "wall_s": round(ended - started, 1),
            "cpu_s": round(time.process_time() - cpu, 1), "warnings": [w["code"] for w in found.report["warnings"]],
            "parts_s": {name: round(stop - at, 1) for (name, at), stop in zip(said, stops, strict=True)},
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}  # fmt: skip


def cheap(root: Path, rows: int) -> None:
    """With lint stored; lint itself is timed as the flow makes it."""
    run = root / f"run-{rows}"
    if not (run / "run.json").exists():
        run_folder(run, rows)
    config = AuditConfig(tier="cheap")
    with Store.writer(run) as store:
        started, cpu = time.perf_counter(), time.process_time()
        linting.lint(store, crop_of(store, 1))
        lint = {"what": "lint", "rows": rows, "wall_s": round(time.perf_counter() - started, 1),
                "cpu_s": round(time.process_time() - cpu, 1)}  # fmt: skip
    print(json.dumps(lint))
    print(json.dumps(timed("a run, lint and edges stored", run, config, root / "out")))


def file(root: Path, rows: int) -> None:
    """From bare text: a Parquet file of prompts and replies."""
    path = root / f"file-{rows}.parquet"
    if not path.exists():
        names = pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("passed", pa.bool_())])
        with pq.ParquetWriter(path, names) as out:
            for number, start in enumerate(range(0, rows, SHARD)):
                n = min(SHARD, rows - start)
                asked = pa.array([f"Question {(start + i) // 8}: what comes next, and why?" for i in range(n)])
                out.write_table(pa.table([asked, texts(n, number), pa.array([i % 2 == 0 for i in range(n)])], names))
    print(json.dumps(timed("a file, bare text", path, AuditConfig(tier="cheap"), root / "out")))


def medium(root: Path, rows: int) -> None:
    """The default audit of a file, with an empty store of vectors."""
    path = root / f"replies-{rows}.parquet"
    names = ("prompt", "completion", "gold", "passed")
    made = [{name: row[name] for name in names} for task in pool((rows + 3) // 4, 4, 0) for row in task]
    pq.write_table(pa.Table.from_pylist(made[:rows]), path)
    from ratoon.machine import wheels

    models = wheels.cache_folder() / "models"
    with tempfile.TemporaryDirectory(dir=root) as cache:
        if models.exists():  # the model stays: only vectors are made anew
            (Path(cache) / "models").symlink_to(models)
        os.environ["RATOON_CACHE"] = cache
        print(json.dumps(timed("a file, medium tier", path, AuditConfig(), root / "out")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cheap", "file", "medium"])
    parser.add_argument("rows", type=int, nargs="?")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="ratoon-audit-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows = args.rows or (5_000 if args.what == "medium" else 1_000_000)
    try:
        {"cheap": cheap, "file": file, "medium": medium}[args.what](folder, rows)
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0)
