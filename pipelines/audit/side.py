"""One side of an audit: a run's round, a dataset folder or a stranger's file or folder, as rows of one table. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.errors import UsageError
from ratoon.messages import last_texts, user_texts
from ratoon.metrics.qdc.tiers import sample_of
from ratoon.metrics.report.answers import completed
from ratoon.metrics.report.frame import frame
from ratoon.pipelines.audit import files as audit_files
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.rows.reading import Reading
from ratoon.sft.data import dataset
from ratoon.store.store import Store

Kind = Literal["run", "dataset", "file", "folder"]


class Side(NamedTuple):
    """`rows` (FRAME) of `total`; `held` are items of evaluation sets known with it; `iteration` of a run's round.

    `reading` tells how a file was read; `stored` is what was measured of the rows before: `lint` (frame.COUNTED, a row each,
    in order); edges `near` to other texts and `matched` to items of evaluation sets.
    """

    kind: Kind
    name: str
    rows: pa.Table
    total: int
    columns: dict[str, str] | None
    notes: list[str]
    held: pa.Table
    digest: str
    root: Path | None = None
    iteration: int | None = None
    stored: Mapping[str, pa.Table] = {}
    reading: Reading | None = None


def kind_of(path: Path) -> Kind:
    """What a path holds. Raises UsageError where it is not there."""
    if not path.exists():
        raise UsageError(f"there is no {path}", "give a run's folder, a dataset's folder, or a Parquet, JSONL or CSV file")
    if path.is_file():
        return "file"
    if (path / "run.json").exists():
        return "run"
    return "dataset" if (path / dataset.INFO).exists() else "folder"


def side(path: Path, asked: Mapping[str, str], config: AuditConfig, iteration: int | None = None) -> Side:
    """The rows of whatever lies at `path`; of a run those of one round, the newest unless said."""
    kind = kind_of(path)
    if kind == "run":
        return _of_run(path, iteration, config)
    if iteration is not None:
        raise UsageError(f"--iteration {iteration}: {path} is no run", "leave --iteration out")
    return _of_dataset(path, config) if kind == "dataset" else _of_files(path, kind, asked, config)


def _of_run(path: Path, iteration: int | None, config: AuditConfig) -> Side:
    store = Store.open(path)
    rounds = sorted(m.iteration or 0 for m in store.find("groups") if m.shard == "train")
    if not rounds:
        return Side(
            "run", str(path), frame({}, 0), 0, None, ["the run has no harvested round yet"], _none(), store.run_id, path
        )
    chosen = rounds[-1] if iteration is None else iteration
    if chosen not in rounds:
        raise UsageError(f"{path} has no harvested round {iteration}", f"it has {', '.join(map(str, rounds))}")
    rows, held, digest = audit_run.read(store, chosen, config.rows, config.seed)
    total = audit_run.planned(store, chosen)
    rows = completed(rows)
    stored = audit_run.known_before(store, chosen, rows["row_id"])
    notes = [f"stored numbers that were used: {', '.join(sorted(stored))}"] if stored else []
    notes += _sampled(rows.num_rows, total, config.seed)
    notes += audit_run.thinking(store, chosen)
    return Side("run", f"{path} round {chosen}", rows, total, None, notes, held, digest, path, chosen, stored)


def _sampled(rows: int, total: int, seed: int) -> list[str]:
    return [f"{rows} of {total} rows were read: whole tasks chosen by hash of seed {seed}"] if rows < total else []


def _of_dataset(path: Path, config: AuditConfig) -> Side:
    info, table = dataset.read_info(path), dataset.read_dataset(path)
    views = set(pc.unique(table["view"]).to_pylist())
    view = "sft" if "sft" in views else next(iter(sorted(views)), "sft")
    table = table.filter(pc.and_(pc.equal(table["view"], view), pc.not_equal(pc.fill_null(table["split"], "train"), "eval")))
    total = table.num_rows
    if total > config.rows:
        table = table.filter(pa.array(sample_of(table["task_id"], config.rows, config.seed)))
    rows = frame(_dataset_columns(table), table.num_rows).sort_by("row_id")
    notes = [f"rows of view {view}"] + (["it holds only rows that passed"] if view == "sft" else [])
    notes += _sampled(rows.num_rows, total, config.seed)
    held = _held_around(path, info.iteration)
    return Side("dataset", str(path), completed(rows), total, None, notes, held, info.content_digest, None, info.iteration)


def _held_around(path: Path, iteration: int) -> pa.Table:
    """The held-out items of the run around a dataset folder; an empty table where the folder lies in no run."""
    root = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path
    store = Store.open(root) if (root / "run.json").exists() else None
    if store is None or not any(m.shard == "train" for m in store.find("groups", iteration)):
        return _none()
    return audit_run.held(store, iteration)


def _dataset_columns(table: pa.Table) -> dict[str, Any]:
    names = ("task_id", "iteration", "pass_rate", "label_source", "split")
    return {name: table[name] for name in names} | {
        "row_id": table["rollout_id"] if not table["rollout_id"].null_count else table["example_id"],
        "place": table["example_id"], "prompt": user_texts(table["prompt"]),
        "completion": last_texts(table["completion"], "assistant"),
        "passed": table["label"], "group_n": table["n"], "n_tokens": pc.list_value_length(table["token_ids"]),
    }  # fmt: skip


def _of_files(path: Path, kind: Kind, asked: Mapping[str, str], config: AuditConfig) -> Side:
    read = audit_files.read(path, asked, config.rows, config.seed)
    rows = completed(read.rows) if read.rows.num_rows <= config.matched else read.rows
    notes = list(read.notes)
    if read.rows.num_rows > config.matched and read.rows["answer"].null_count:
        notes.append(f"answers were not read out of more than {config.matched} replies")
    held = _items(read.held, "its own held-out split")
    return Side(kind, str(path), rows, read.total, read.columns, notes, held, read.digest, reading=read.reading)


def _items(rows: pa.Table, name: str) -> pa.Table:
    items = [
        {"item_id": f"{name}/{row['place']}:question", "benchmark": name, "part": "question", "text": row["prompt"]}
        for row in rows.select(["place", "prompt"]).to_pylist() if row["prompt"]
    ]  # fmt: skip
    return benchmark_rows(items)


def held_of(names: Sequence[str], *known: pa.Table) -> pa.Table:
    """Items of the named evaluation sets beside those already known. Raises DataError for one that cannot be read."""
    return pa.concat_tables([*known, *(benchmarks.items(name) for name in names)])


def benchmark_rows(found: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Table benchmarks."""
    return schema.from_rows("benchmarks", found)


def _none() -> pa.Table:
    return benchmark_rows([])
