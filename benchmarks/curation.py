"""Curation beside its peers on one corpus, one machine, one run: near-dedupe, exact dedupe, lint.

    python benchmarks/curation.py minhash [--n 200000] [--datatrove PYTHON] [--datasketch PYTHON]
    python benchmarks/curation.py memory [--n 1000000]     ours alone: peak memory, survivors at 1, 4 and 16 shards
    python benchmarks/curation.py exact [--n 1000000]      beside DuckDB's `select text, min(id) … group by text`
    python benchmarks/curation.py lint [--n 20000] [--datatrove PYTHON]

A peer is run by the interpreter of an environment of its own; without one it is left out. Everybody reads the same Parquet file
and writes what goes. One process each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from curation_corpus import judged, write

from ratoon.filters.decide import decide
from ratoon.filters.exact_dedup import ExactDedupConfig
from ratoon.filters.lint import LintConfig
from ratoon.filters.minhash import MinHashFilterConfig
from ratoon.metrics.text import lint as numbers
from ratoon.metrics.text.minhash import MinHashConfig
from ratoon.metrics.text.near_duplicates import near

HERE = Path(__file__).resolve().parent
NO_PAST = pa.table({"subject_id": pa.array([], pa.string())})


def batches(path: Path, rows: int = 8192) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Ids and texts of a corpus, a batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, columns=["id", "text"]):
            yield batch["id"], batch["text"]


def shards(path: Path, n: int) -> Iterator[tuple[pa.Array, pa.Array]]:
    """The same rows cut into n shards that come in another order."""
    table = pq.read_table(path, columns=["id", "text"])
    cuts = np.array_split(np.arange(table.num_rows), n)
    for rows in reversed(cuts):
        part = table.take(pa.array(rows)).combine_chunks()
        yield part["id"].combine_chunks(), part["text"].combine_chunks()


def near_dedupe(rows: Iterator[tuple[pa.Array, pa.Array]], out: Path, bands: int = 20) -> list[str]:
    """Read, sign, band, verify, cluster, write decisions."""
    with tempfile.TemporaryDirectory() as folder:
        found = near(rows, MinHashConfig(bands=bands), Path(folder))
    ids = found.signatures["subject_id"]
    candidates = pa.table({"rollout_id": ids, "value": pa.nulls(len(ids), pa.float64())})
    side = {"edges": found.edges, "past": NO_PAST}
    decisions = decide(candidates, [("minhash", MinHashFilterConfig())], "bench", side=side)
    pq.write_table(decisions, out, compression="zstd")
    return removed(decisions)


def exact_dedupe(path: Path, out: Path) -> list[str]:
    """Read, normalise, keep the smallest id of each text, write decisions."""
    table = pq.read_table(path, columns=["id", "text"]).rename_columns(["rollout_id", "text"])
    nulls = pa.nulls(table.num_rows, pa.string())
    candidates = table.append_column("prompt_id", nulls).append_column("problem_key", nulls)
    decisions = decide(candidates, [("exact_dedup", ExactDedupConfig(scope="all"))], "bench")
    pq.write_table(decisions, out, compression="zstd")
    return removed(decisions)


def linted(path: Path) -> list[str]:
    """Read, measure every number, decide by Gopher's repetition limits."""
    table = pq.read_table(path, columns=["id", "text"]).rename_columns(["rollout_id", "text"])
    found = numbers.lint(table["text"]).append_column("rollout_id", table["rollout_id"])
    config = LintConfig(empty=False, refusal=False, repetition_words=0)
    return removed(decide(table, [("lint", config)], "bench", side={"lint": found}))


def removed(decisions: pa.Table) -> list[str]:
    """Ids that a table of decisions drops."""
    return decisions.filter(pa.compute.invert(decisions["keep"]))["subject_id"].to_pylist()


def timed(function: Callable[[], list[str]], times: int = 3) -> tuple[float, float, list[str]]:
    """Least and greatest seconds of several runs, and what one removed."""
    seconds, gone = [], []
    for _ in range(times):
        start = time.perf_counter()
        gone = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), max(seconds), gone


def peer(python: str | None, script: str, *arguments: str) -> dict[str, Any] | None:
    """What a peer's own process told."""
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "told.json"
        given = [str(out) if a == "OUT" else str(Path(folder) / "scratch") if a == "SCRATCH" else a for a in arguments]
        done = subprocess.run([python, str(HERE / script), *given], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{script} failed in its own environment ({python}):\n{done.stderr[-2000:]}")
        return dict(json.loads(out.read_text()))


def say(name: str, rows: int, seconds: float, **more: object) -> None:
    print(json.dumps({"what": name, "docs": rows, "seconds": round(seconds, 2), "docs/s": round(rows / seconds), **more}))
    sys.stdout.flush()


def minhash(given: argparse.Namespace) -> None:
    table = write(given.folder, given.n)
    path = given.folder / f"corpus-{given.n}-100-0.parquet"
    processor()
    # Peers join unchecked candidates, which finds some copies by way of wrong pairs: a few more bands make up for that.
    for bands in (14, 20):
        best, worst, gone = timed(lambda bands=bands: near_dedupe(batches(path), given.folder / "decisions.parquet", bands))
        told = judged(table, set(gone))
        say(
            f"ratoon, {bands} bands of 8",
            given.n,
            best,
            slowest=round(worst, 2),
            **told,
            peak_mb=peak(),
            processor=round(processor() / 3, 2),
        )
    for name, python, script, arguments in (
        ("datasketch", given.datasketch, "peer_datasketch.py", (str(path), "OUT")),
        ("datatrove", given.datatrove, "peer_datatrove.py", ("minhash", str(path), "OUT", "SCRATCH")),
    ):
        told = peer(python, script, *arguments)
        if told is not None:
            ratio = round(told["seconds"] / best, 1)
            say(
                name,
                given.n,
                told["seconds"],
                **judged(table, set(told["removed"])),
                peak_mb=told["peak_mb"],
                processor=told.get("processor"),
                ours_is_faster=ratio,
            )


def memory(given: argparse.Namespace) -> None:
    write(given.folder, given.n)
    path = given.folder / f"corpus-{given.n}-100-0.parquet"
    start, before = time.perf_counter(), peak()
    gone = near_dedupe(batches(path), given.folder / "decisions.parquet")
    say("ratoon near-dedupe", given.n, time.perf_counter() - start, peak_mb=peak(), peak_before=before)
    seen = {hashlib.sha256("".join(sorted(gone)).encode()).hexdigest()[:16]}
    for n in (1, 4, 16):
        found = near_dedupe(shards(path, n), given.folder / "decisions.parquet")
        seen.add(hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:16])
    print(json.dumps({"what": "survivors at 1, 4 and 16 shards", "distinct": len(seen), "digest": sorted(seen)}))


def exact(given: argparse.Namespace) -> None:
    import duckdb

    path = given.folder / f"corpus-{given.n}-100-0.parquet"
    write(given.folder, given.n)
    processor()
    best, worst, gone = timed(lambda: exact_dedupe(path, given.folder / "decisions.parquet"))
    query = f"select text, min(id) from '{path}' group by text"
    connection = duckdb.connect(config={"threads": 1})

    def theirs() -> list[str]:
        connection.sql(query).to_arrow_table()
        return []

    ours = processor()
    least, most, _ = timed(theirs)
    say("ratoon", given.n, best, slowest=round(worst, 2), removed=len(gone), peak_mb=peak(), processor=round(ours / 3, 2))
    say("duckdb, one thread", given.n, least, slowest=round(most, 2), share=round(least / best, 2),
        processor=round(processor() / 3, 2))  # fmt: skip


def lint(given: argparse.Namespace) -> None:
    path, ids = repeated(given.folder, given.n)
    best, worst, gone = timed(lambda: linted(path))
    say("ratoon", given.n, best, slowest=round(worst, 2), removed=len(gone))
    told = peer(given.datatrove, "peer_datatrove.py", "lint", str(path), "OUT", "SCRATCH")
    if told is not None:
        ours, theirs = set(gone), set(told["removed"])
        say("datatrove", given.n, told["seconds"], removed=len(theirs), equal=1 - len(ours ^ theirs) / len(ids),
            only_ours=len(ours - theirs), only_theirs=len(theirs - ours),
            ours_is_faster=round(told["seconds"] / best, 1))  # fmt: skip


def repeated(folder: Path, n: int) -> tuple[Path, list[str]]:
    """A corpus of which a third repeats phrases, lines or paragraphs, to any degree."""
    rng = np.random.default_rng(1)
    rows = write(folder, n)["text"].to_pylist()
    for i in np.flatnonzero(rng.random(n) < 1 / 3):
        words = rows[i].split()
        phrase = " ".join(words[: rng.integers(2, 12)])
        glue = [" ", "\n", "\n\n"][rng.integers(0, 3)]
        rows[i] = glue.join([*[phrase] * int(rng.integers(2, 9)), *(" ".join(words[k : k + 10]) for k in range(20, 100, 10))])
    ids = [f"r_{i:024x}" for i in range(n)]
    path = folder / f"repeated-{n}.parquet"
    pq.write_table(pa.table({"id": ids, "text": rows}), path)
    return path, ids


def processor() -> float:
    """Processor seconds of this process since the last call."""
    global _spent
    now = time.process_time()
    took, _spent = now - _spent, now
    return round(took, 2)


_spent = 0.0


def peak() -> int:
    """Megabytes this process has held at most."""
    # Not ru_maxrss: that begins at what the process that started this one held.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["minhash", "memory", "exact", "lint"])
    parser.add_argument("--n", type=int)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ratoon-curation")
    parser.add_argument("--datatrove", help="python of an environment with datatrove and spacy")
    parser.add_argument("--datasketch", help="python of an environment with datasketch")
    given = parser.parse_args()
    given.n = given.n or {"minhash": 200_000, "memory": 1_000_000, "exact": 1_000_000, "lint": 20_000}[given.what]
    {"minhash": minhash, "memory": memory, "exact": exact, "lint": lint}[given.what](given)


if __name__ == "__main__":
    main()
