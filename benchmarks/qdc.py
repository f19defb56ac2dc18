"""Do the numbers notice a collapse, stay still without one, and keep up with a million rows?

    python benchmarks/qdc.py collapse            the sweep of planted collapse, on real embeddings (minutes)
    python benchmarks/qdc.py null                halves of one dataset, 100 seeds (minutes)
    python benchmarks/qdc.py cheap [ROWS]        the cheap tier over ROWS texts of 100 words; default 1,000,000

`collapse` replaces a share f of made-up questions by rewordings of 20 of them. `cheap` works on a real run folder: lint from
bare text, then the measures of a round and of its dataset from stored lint and near-duplicate edges.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from curation_corpus import planted  # type: ignore[import-not-found]
from numpy.typing import NDArray

from ratoon import schema
from ratoon.metrics.embeddings.clusters import Codebook, fit_codebook
from ratoon.metrics.embeddings.embed import embed
from ratoon.metrics.qdc import tiers
from ratoon.metrics.qdc.tiers import TierConfig
from ratoon.metrics.stats.measures import Measure, compare
from ratoon.metrics.text import minhash
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.evaluation import rounds as qdc
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import key
from ratoon.store.store import Counts, Store

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
RISING = ("compression_gzip", "compression_zstd", "self_repetition")
FALLING = ("vendi", "rke", "clusters", "knn5_distance", "distinct_3")


def _listed(text: str) -> list[str]:
    return text.split("|")


_WHO = _listed("Mara|Deniz|Olu|Priya|Sven|a baker|the librarian|two farmers|our team|a sailor|the twins|Chen")
_DOES = _listed("counts|sells|paints|compares|measures|collects|describes|repairs|sorts|borrows|draws|loses")
_THINGS = _listed(
    "apples|tickets|violins|rivers|prime numbers|tulips|copper wires|planets|recipes|stamps|turbines|chess openings|bacteria|"
    "bridges|glaciers|court cases|poems|satellites|sheep|enzymes|coins|kites|volcanoes|timetables|languages|honey jars|magnets|"
    "triangles|tax forms|owls"
)
_WHERE = _listed(
    "at the harbour|in the desert|during the winter|before the exam|under the old roof|in the museum|by night|"
    "for the school fair|on the moon|in the laboratory|near the border|after the storm"
)
_ASKS = _listed(
    "How many are left?|Explain why.|Write a short story about it.|What is the total cost?|Give three examples.|"
    "Which is the largest?|Prove your claim.|Summarise it in one line.|What happens next?|Find the mean."
)
_AGAIN = _listed("Please answer: {}|{} Think it through.|Here is a question. {}|{} Be brief.|Now, {}|{} Answer in full.")


def questions(f: float, n: int = 1100, seed: int = 0) -> list[str]:
    """`n` made-up questions, a share `f` of them rewordings of 20."""
    rng = np.random.default_rng(seed)
    parts = (_WHO, _DOES, _THINGS, _WHERE, _ASKS)
    made = [[str(rng.choice(part)) for part in parts] for _ in range(n)]
    for i in np.flatnonzero(rng.random(n) < f):
        made[i] = list(made[int(rng.integers(20))])
        if rng.random() < 0.5:
            made[i][0] = str(rng.choice(_WHO))
    texts = [f"{a} {b} {int(rng.integers(2, 90))} {c} {d}. {e}" for a, b, c, d, e in made]
    return [str(rng.choice(_AGAIN)).format(text) if rng.random() < 0.3 else text for text in texts]


def headlines(texts: list[str], vectors: NDArray[Any], book: Codebook, config: TierConfig, seed: int = 0) -> dict[str, Measure]:
    tasks = list(range(len(texts)))
    found = tiers.words(pa.array(texts), tasks, config, seed) + tiers.meaning(vectors, tasks, book, "minilm", config, seed, "")
    return {m.metric.removeprefix("diversity."): m for m in found}


def collapse(n: int = 1100) -> dict[str, list[float]]:
    """Each headline at each share; prints them, and whether all are monotone."""
    config = TierConfig()
    book = fit_codebook(embed(questions(0.0, n)), config.clusters)
    sweep = [headlines(texts, embed(texts), book, config) for texts in (questions(f, n) for f in SHARES)]
    names = [*FALLING, *RISING, "pairwise_distance", "neighbour_0.9", "neighbour_0.7"]
    table = {name: [float(found[name].value or 0) for found in sweep] for name in names}
    print("| metric | " + " | ".join(f"f={f}" for f in SHARES) + " | monotone |\n|" + "---|" * (len(SHARES) + 2))
    for name, values in table.items():
        sign = 1 if name in RISING or name.startswith("neighbour") else -1
        print(
            f"| {name} | "
            + " | ".join(f"{v:.3g}" for v in values)
            + f" | {all(sign * (b - a) > 0 for a, b in pairwise(values))} |"
        )
    return table


def null(seeds: int = 100, n: int = 1000) -> dict[str, float]:
    """The share of seeds in which two halves of one dataset differ beyond the interval of their difference, per headline."""
    config, texts = TierConfig(), questions(0.3, n)
    vectors = embed(texts)
    book, alarms = fit_codebook(vectors, config.clusters), dict.fromkeys((*FALLING, *RISING), 0)
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(n)
        a, b = (
            headlines([texts[i] for i in half], vectors[half], book, config, seed)
            for half in (order[: n // 2], order[n // 2 :])
        )
        for name in alarms:
            found = compare(a[name], b[name])
            alarms[name] += not found.lo <= 0 <= found.hi
    shares = {name: count / seeds for name, count in alarms.items()}
    print(json.dumps(shares | {"all": sum(alarms.values()) / seeds / len(alarms)}, indent=1))
    return shares


def cheap(rows: int = 1_000_000, shard: int = 50_000, words: int = 100) -> dict[str, float]:
    """Seconds and peak memory of lint from bare text, and of measuring from stored lint and edges."""
    root = Path(tempfile.mkdtemp(prefix="ratoon-qdc-"))
    try:
        return _cheap(root, rows, shard, words)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _cheap(root: Path, rows: int, shard: int, words: int) -> dict[str, float]:
    recipe = load("smoke", [])
    with Store.writer(root / "run", {}) as store:
        crop, curated = _stored(store, rows, shard, words, minhash.edge_version(recipe.curation.minhash))
        started, cpu = time.perf_counter(), time.process_time()
        linted = linting.lint(store, crop)
        lint_s, lint_cpu = time.perf_counter() - started, time.process_time() - cpu
        started, cpu = time.perf_counter(), time.process_time()
        made = qdc.measure(store, recipe, crop, curated, linted)
        measure_s, measure_cpu = time.perf_counter() - started, time.process_time() - cpu
        found = made.counts.rows_out
    report = {"rows": rows, "words": words, "measures": found, "stored_s": measure_s, "stored_cpu_s": measure_cpu,
              "bare_s": lint_s + measure_s, "bare_cpu_s": lint_cpu + measure_cpu, "lint_us_per_row_cpu": 1e6 * lint_cpu / rows,
              "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    print(json.dumps({name: round(value, 2) for name, value in report.items()}, indent=1))
    return report


def _stored(store: Store, rows: int, shard: int, words: int, edges: str) -> tuple[Crop, Any]:
    """A run folder with a round of rollouts, eight a task, near-duplicate edges for one in ten, and half of them kept."""
    texts = planted(min(rows, shard), words)["text"]
    groups: list[dict[str, Any]] = []
    made = []
    tasks = [
        {"task_id": f"t{i:08d}", "problem_key": f"k{i:08d}", "family": f"f{i % 7}", "answer": str(i % 97),
         "messages": [{"role": "user", "content": f"Question {i}: what is {i % 50} plus {i % 47}? Reply with the number."}]}
        for i in range((rows + 7) // 8)
    ]  # fmt: skip
    pool = _put(store, "tasks", None, None, tasks=schema.from_rows("tasks", tasks))
    for number, start in enumerate(range(0, rows, shard)):
        n = min(shard, rows - start)
        ids = [f"r_{start + i:024x}" for i in range(n)]
        at = [f"{(start + i) // 8:08d}" for i in range(n)]
        columns = {"rollout_id": ids, "task_id": [f"t{a}" for a in at], "group_id": [f"g{a}" for a in at],
                   "text": _salted(texts.slice(0, n), number), "finish_reason": ["stop"] * n, "iteration": [1] * n}  # fmt: skip
        made.append(_put(store, "rollouts", 1, f"train-{number:04d}", rollouts=schema.from_columns("rollouts", columns, n)))
    rng = np.random.default_rng(0)
    for i in range((rows + 7) // 8):
        passed = int(rng.binomial(8, 0.4))
        groups.append({"group_id": f"g{i:08d}", "task_id": f"t{i:08d}", "scorer": "numeric", "n_valid": 8, "n_passed": passed,
                       "pass_rate": passed / 8, "vote_share": 0.5, "vote_margin": 0.25, "entropy": 1.0})  # fmt: skip
    grouped = _put(store, "groups", 1, "train", groups=schema.from_rows("groups", groups))
    twins = [{"kind": "minhash", "a_id": f"r_{i:024x}", "b_id": f"r_{i + 1:024x}", "similarity": 0.9, "version": edges}
             for i in range(0, rows - 1, 20)]  # fmt: skip
    _put(store, "near", 1, "train", versions={"edges": edges}, edges=schema.from_rows("edges", twins))
    kept = [{"dataset_id": "d", "example_id": f"e{i:09d}", "rollout_ids": [f"r_{i:024x}"]} for i in range(0, rows, 2)]
    curated = _put(store, "curate", 1, "default", extra={"dataset_id": "d"}, examples=schema.from_rows("examples", kept))
    return Crop(1, [pool], [], made, [], grouped), curated


def _salted(texts: pa.ChunkedArray, number: int) -> pa.Array:
    """Other texts of the same shape: two words in three end otherwise in each shard."""
    return pa.compute.replace_substring_regex(
        texts.combine_chunks(), pattern=r"(\w)e ", replacement=rf"\1{'aiou'[number % 4]}{number % 10} "
    )


def _put(
    store: Store, stage: str, iteration: int | None, shard: str | None, versions: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None, **tables: pa.Table,
) -> Any:  # fmt: skip
    n = sum(table.num_rows for table in tables.values())
    return store.put(key(stage, iteration, shard, versions=versions), tables, Counts(n, n), extra=extra)


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    if chosen not in ("collapse", "null", "cheap"):
        sys.exit(__doc__)
    {"collapse": collapse, "null": null, "cheap": cheap}[chosen](*map(int, sys.argv[2:]))  # type: ignore[operator]
