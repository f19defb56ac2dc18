"""`ratoon curate` over many stored rollouts with the whole default order, the selection of a few and its random control.

    python benchmarks/curate_million.py [--n 1000000] [--select 20000] [--words 100] [--folder DIR] [--again]

Makes a run of one round: rollouts of `words` words with token ids and no log-probs, 8 to a task, half of them right; lint
numbers, signatures, edges and matches are measured by the stages themselves; vectors are drawn around 2,000 centres (embedding
a million texts on a CPU takes a day). Then it times the command in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from curation_corpus import planted

from ratoon import schema
from ratoon.pipelines.curation import embed, matches, near_duplicates
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.pipelines.runtime.stage import key
from ratoon.store.store import Counts, Manifest, Store

ORDER = [
    {"kind": "lint"}, {"kind": "exact_dedup", "scope": "all"}, {"kind": "decontaminate"}, {"kind": "verified"},
    {"kind": "pass_rate", "lo_inclusive": False}, {"kind": "consensus"}, {"kind": "minhash"}, {"kind": "semantic"},
    {"kind": "quality_floor"}, {"kind": "dpp", "n": 20_000},
]  # fmt: skip
_SHARD, _WIDTH = 50_000, 384


def recipe(select: int) -> Recipe:
    """The default order over one arm."""
    order = [*ORDER[:-1], ORDER[-1] | {"n": select}]
    tasks = [{"source": "arithmetic", "operation": "add", "n": 1}]
    return Recipe.model_validate({"tasks": tasks, "filters": order, "engine": {"kind": "scripted"}})


def put(
    store: Store, stage: str, tables: dict[str, pa.Table], shard: str | None, inputs: list[Manifest], round_: int = 1
) -> Manifest:
    """One artifact, as the flow would commit it."""
    rows = next(iter(tables.values())).num_rows
    return store.put(key(stage, round_, shard, inputs=inputs), tables, Counts(rows, rows))


def tasks(n: int) -> tuple[pa.Table, pa.Table]:
    """Tasks and prompts."""
    names = [f"t_{i:024x}" for i in range(n)]
    asked = [
        [{"role": "user", "content": f"Problem {i}: how much is {i} and {i * 7 % 1000}, told in many words?"}] for i in range(n)
    ]
    split = ["eval" if i % 200 == 0 else "train" for i in range(n)]
    made = {"task_id": names, "problem_key": names, "family": [f"family {i % 12}" for i in range(n)], "messages": asked,
            "answer": [str(i) for i in range(n)], "verifier": ["numeric"] * n, "split": split}  # fmt: skip
    prompts = {"prompt_id": [f"p_{i:024x}" for i in range(n)], "task_id": names, "messages": asked,
               "token_ids": [[1, 2, 3, i] for i in range(n)]}  # fmt: skip
    return schema.from_columns("tasks", made, n), schema.from_columns("prompts", prompts, n)


def rollouts(n: int, words: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rollouts and scores, a shard at a time."""
    rng = np.random.default_rng(3)
    for start in range(0, n, _SHARD):
        count = min(_SHARD, n - start)
        texts = planted(count, words, seed=start + 1)["text"]
        task = np.arange(start, start + count) // 8
        ids = [f"r_{i * 2654435761 % 2**48:024x}" for i in range(start, start + count)]
        lengths = np.full(count, words * 4 // 3)
        tokens = pa.ListArray.from_arrays(
            pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
            pa.array(rng.integers(0, 49_000, lengths.sum(), dtype=np.int32)),
        )
        columns = {"rollout_id": ids, "group_id": [f"g_{t:024x}" for t in task], "task_id": [f"t_{t:024x}" for t in task],
                   "prompt_id": [f"p_{t:024x}" for t in task], "policy_id": ["m_0"] * count, "sampling_id": ["s_0"] * count,
                   "iteration": [1] * count, "role": ["solver"] * count,
                   "sample": (np.arange(start, start + count) % 8).astype(np.int32),
                   "text": texts, "token_ids": tokens, "finish_reason": ["stop"] * count}  # fmt: skip
        passed = rng.random(count) < 0.5
        scores = {"subject_kind": ["rollout"] * count, "subject_id": ids, "scorer": ["numeric"] * count,
                  "version": ["1"] * count,
                  "repeat": pa.array(np.zeros(count, np.int32)), "status": np.where(passed, "pass", "fail").tolist(),
                  "value": passed.astype(float), "answer": ["7"] * count}  # fmt: skip
        yield schema.from_columns("rollouts", columns, count), schema.from_columns("scores", scores, count)


def groups(n_tasks: int, scores: pa.Table) -> pa.Table:
    """One group a task, with its pass rate."""
    passed = np.asarray(scores["value"]).reshape(n_tasks, -1)
    rate = passed.mean(axis=1)
    n = np.full(n_tasks, passed.shape[1], np.int32)
    columns = {"group_id": [f"g_{t:024x}" for t in range(n_tasks)], "task_id": [f"t_{t:024x}" for t in range(n_tasks)],
               "scorer": ["numeric"] * n_tasks, "scorer_version": ["1"] * n_tasks, "label_source": ["verifier"] * n_tasks,
               "iteration": [1] * n_tasks, "n": n, "n_valid": n, "n_passed": passed.sum(axis=1).astype(np.int32),
               "pass_rate": rate,
               "pass_lo": rate / 2, "pass_hi": (1 + rate) / 2}  # fmt: skip
    return schema.from_columns("groups", columns, n_tasks)


def make(root: Path, n: int, words: int, select: int) -> None:
    """The run, and everything that filters read."""
    with Store.writer(root, {"shard_size": _SHARD}) as store:
        store.put_config(recipe(select).model_dump(mode="json"))
        made, prompts = tasks(n // 8)
        pool = put(store, "tasks", {"tasks": made}, None, [], 0)
        asked = put(store, "prompts", {"prompts": prompts}, None, [pool], 0)
        put(
            store,
            "sampling",
            {"samplings": schema.from_rows("samplings", [{"sampling_id": "s_0", "temperature": 1.0}])},
            "s_0",
            [],
            0,
        )
        plan = schema.from_columns("assignments", {"iteration": [1], "task_id": ["t"], "purpose": ["train"]}, 1)
        put(store, "assign", {"assignments": plan}, "train", [pool, asked])
        answers, shards, scored = [], [], []
        for number, (rows, scores) in enumerate(rollouts(n, words)):
            shards.append(put(store, "rollouts", {"rollouts": rows}, f"train-{number:04d}", [asked]))
            scored.append(put(store, "scores", {"scores": scores}, f"train-{number:04d}", [shards[-1], pool]))
            answers.append(scores.select(["value"]))
        put(store, "groups", {"groups": groups(n // 8, pa.concat_tables(answers))}, "train", [*shards, *scored])
        measure(store, crop_of(store, 1), select)


def measure(store: Store, crop: Crop, select: int) -> None:
    """What the stages measure, each timed; the vectors are drawn."""
    config = recipe(select).curation
    for name, stage in (
        ("lint numbers and text digests", lambda: linting.lint(store, crop)),
        ("near-duplicates", lambda: near_duplicates.near_pairs(store, config, [crop])),
        ("matches with benchmarks", lambda: matches.matched(store, config, crop)),
        (
            "vectors, drawn",
            lambda: store.put(embed.embed_key(config, crop), {"embeddings": vectors(store, crop)}, Counts(0, 0)),
        ),
        ("like vectors", lambda: embed.like_pairs(store, config, store.find("embed"))),
    ):
        start = time.perf_counter()
        stage()
        print(
            json.dumps({"measured once": name, "seconds": round(time.perf_counter() - start, 1), "peak_mb": peak()}), flush=True
        )


def vectors(store: Store, crop: Crop) -> pa.Table:
    """A unit vector for every right rollout, around one of 2,000 centres."""
    scores = store.read("scores", crop.scores, ["subject_id", "status"])
    ids = scores.filter(pa.compute.equal(scores["status"], "pass"))["subject_id"].combine_chunks()
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(2000, _WIDTH)).astype(np.float32)
    data = bytearray()
    for start in range(0, len(ids), 8192):
        count = min(8192, len(ids) - start)
        x = centres[rng.integers(0, 2000, count)] + rng.normal(size=(count, _WIDTH)).astype(np.float32)
        data += (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16).tobytes()
    offsets = pa.py_buffer(np.arange(len(ids) + 1, dtype=np.int32) * 2 * _WIDTH)
    column = pa.Array.from_buffers(pa.binary(), len(ids), [None, offsets, pa.py_buffer(bytes(data))])
    return schema.from_columns(
        "embeddings", {"subject_id": ids, "version": pa.repeat("drawn", len(ids)), "vector": column}, len(ids)
    )


def peak() -> int:
    # Not ru_maxrss: that begins at what the process that started this one held.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--select", type=int, default=20_000)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ratoon-million")
    given = parser.parse_args()
    root = given.folder / f"run-{given.n}-{given.words}"
    if not (root / "run.json").exists():
        make(root, given.n, given.words, given.select)
    name = f"v{len(list((root / 'commits').glob('*.json')))}"
    start = time.perf_counter()
    command = [sys.executable, "-m", "ratoon", "curate", str(root), "--name", name, "--json", "--set", "curation.control=true",
               "--set", f"filters.9.n={given.select}"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
    seconds = time.perf_counter() - start
    told = {row["dataset"]: row["kept"] for row in json.loads(done.stdout)}
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        json.dumps(
            {"rollouts": given.n, "words": given.words, "seconds": round(seconds, 1), "peak_mb": round(most), "kept": told}
        )
    )


if __name__ == "__main__":
    main()
