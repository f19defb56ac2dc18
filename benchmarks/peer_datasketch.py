"""Near-dedupe by datasketch, end to end: read Parquet, sign, index, query, join, write what goes. Run by its own interpreter.

python benchmarks/peer_datasketch.py CORPUS.parquet OUT.json
"""

from __future__ import annotations

import json
import resource
import sys
import time

import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH


def main(corpus: str, out: str) -> None:
    start = time.perf_counter()
    table = pq.read_table(corpus, columns=["id", "text"])
    ids, texts = table["id"].to_pylist(), table["text"].to_pylist()
    shingles = []
    for text in texts:
        words = text.lower().split()
        shingles.append([" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))])
    signatures = MinHash.bulk(shingles, num_perm=112)
    signed = time.perf_counter()
    index = MinHashLSH(num_perm=112, params=(14, 8))
    parent = list(range(len(ids)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    with index.insertion_session() as session:
        for i, signature in enumerate(signatures):
            session.insert(i, signature)
    for i, signature in enumerate(signatures):
        for j in index.query(signature):
            a, b = find(i), find(j)
            if a != b:
                parent[max(a, b)] = min(a, b)
    removed = [ids[i] for i in range(len(ids)) if find(i) != i]
    seconds = time.perf_counter() - start
    with open(out, "w") as file:
        json.dump({"seconds": seconds, "sign_seconds": signed - start, "removed": removed,
                   "processor": sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
                                        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}, file)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
