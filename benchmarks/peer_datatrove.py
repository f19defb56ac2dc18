"""Near-dedupe and repetition filters by datatrove. Run by its own interpreter; `minhash` and `lint` write what goes.

python benchmarks/peer_datatrove.py minhash|lint CORPUS.parquet OUT.json SCRATCH
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import GopherRepetitionFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.typeshelper import Languages


def minhash(corpus: Path, scratch: Path) -> list[str]:
    """The four stages, one process."""
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
    reader = ParquetReader(str(corpus.parent), glob_pattern=corpus.name, id_key="id", text_key="text")
    signatures, buckets, clusters = (str(scratch / name) for name in ("signatures", "buckets", "clusters"))
    gone = JsonlWriter(str(scratch / "gone"), compression=None)
    stages = [
        ([reader, MinhashDedupSignature(output_folder=signatures, config=config, language=Languages.english)], 1),
        ([MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(input_folder=buckets, output_folder=clusters, config=config)], 1),
        ([reader, MinhashDedupFilter(input_folder=clusters, exclusion_writer=gone)], 1),
    ]  # fmt: skip
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=1, logging_dir=str(scratch / f"logs{number}")).run()
    return [json.loads(line)["id"] for path in (scratch / "gone").glob("*.jsonl") for line in path.open()]


def lint(corpus: Path, scratch: Path) -> list[str]:
    """Gopher's repetition filter, document by document."""
    judge = GopherRepetitionFilter(language=Languages.english)
    table = pq.read_table(corpus, columns=["id", "text"])
    gone = []
    for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
        if judge.filter(Document(text=text, id=name)) is not True:
            gone.append(name)
    return gone


def main(what: str, corpus: str, out: str, scratch: str) -> None:
    start = time.perf_counter()
    removed = {"minhash": minhash, "lint": lint}[what](Path(corpus), Path(scratch))
    told = {"seconds": time.perf_counter() - start, "removed": removed,
            "processor": sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
                                        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    Path(out).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
