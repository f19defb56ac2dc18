"""Planted texts for the curation benchmarks: near-duplicates that must be found, near misses that must not, repeated texts.

Words are drawn from a vocabulary of 30,000 made-up words by Zipf's law, so that texts share common words as real ones do.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def vocabulary(size: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct words of 2 to 10 letters."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words: set[str] = set()
    while len(words) < size:
        words.add("".join(letters[np.minimum(rng.geometric(0.12, rng.integers(2, 11)) - 1, 25)]))
    return np.array(sorted(words))


def planted(n: int, words: int = 100, seed: int = 0) -> pa.Table:
    """n rows: id, text, cluster (null outside). One text in ten begins a cluster of 1 to 4 copies, up to two words changed
    (Jaccard of 5-word shingles about .81 to 1), and one in ten has a near miss with 4 to 6 words changed (about .52 to .66)."""
    rng = np.random.default_rng(seed)
    names = vocabulary(30_000, rng)
    weights = 1 / np.arange(3, len(names) + 3)
    order = rng.permutation(len(names))
    texts: list[str] = []
    clusters: list[int | None] = []
    pool = order[rng.choice(len(names), size=(n * 6 // 10 + 1000, words), p=weights / weights.sum())]
    for base in pool:
        if len(texts) >= n:
            break
        kind = rng.random()
        copies = int(rng.integers(1, 5)) if kind < 0.1 else 1 if kind < 0.2 else 0
        texts.append(" ".join(names[base]))
        clusters.append(len(texts) if kind < 0.1 else None)
        for _ in range(copies):
            changes = rng.integers(0, 3) if kind < 0.1 else rng.integers(4, 7)
            changed = base.copy()
            changed[rng.choice(words, changes, replace=False)] = rng.integers(0, len(names), changes)
            texts.append(" ".join(names[changed]))
            clusters.append(clusters[-1] if kind < 0.1 else None)
        for _ in range(int(rng.integers(0, 2))):
            texts.append(" ".join(names[rng.permutation(base)]))
            clusters.append(None)
    at = rng.permutation(n)
    ids = pa.array([f"r_{i:024x}" for i in range(n)])
    return pa.table({"id": ids, "text": pa.array([texts[i] for i in at]), "cluster": pa.array([clusters[i] for i in at])})


def judged(table: pa.Table, removed: set[str]) -> dict[str, float]:
    """Recall: removed of the copies that could go (all but one of a cluster). Precision: of the removed, how many those are."""
    sizes: dict[int, int] = {}
    gone: dict[int, int] = {}
    for name, cluster in zip(table["id"].to_pylist(), table["cluster"].to_pylist(), strict=True):
        if cluster is not None:
            sizes[cluster] = sizes.get(cluster, 0) + 1
            gone[cluster] = gone.get(cluster, 0) + (name in removed)
    right = sum(min(gone[c], sizes[c] - 1) for c in sizes)
    return {"recall": right / max(1, sum(s - 1 for s in sizes.values())), "precision": right / max(1, len(removed))}


def write(folder: Path, n: int, words: int = 100, seed: int = 0) -> pa.Table:
    """The corpus as Parquet and as JSONL, for readers of either."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"corpus-{n}-{words}-{seed}.parquet"
    if not path.exists():
        table = planted(n, words, seed)
        with (folder / f"{path.stem}.jsonl").open("w", encoding="utf-8") as out:
            for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                out.write(json.dumps({"id": name, "text": text}) + "\n")
        pq.write_table(table, path, row_group_size=65_536, compression="zstd")
    return pq.read_table(path)
