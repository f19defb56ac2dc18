"""Any data set against any benchmarks: which rows hold an item, how much of each was hit, and the rows that hold none.

Rows are matched text column by text column; a row's strongest match counts. The index can be frozen in a file: the same items
and settings give the same digest, and a changed file is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.errors import DataError, UsageError
from ratoon.metrics.text import contamination
from ratoon.metrics.text.contamination import TIERS, ContaminationConfig, Index
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.contamination.near_questions import Reviewer
from ratoon.sft.data import card
from ratoon.store.files import new_folder

_BATCH = 4096
_META = b"ratoon.contamination"


class Report(NamedTuple):
    """How many rows were read, and are contaminated, by tier; items hit per benchmark; every match; rows nobody could read.

    `review` are rows near a question by embeddings, which count as clean; null where nobody asked.
    """

    rows: int
    contaminated: int
    tiers: dict[str, int]
    benchmarks: list[dict[str, Any]]
    matches: list[dict[str, Any]]
    digest: str
    unreadable: list[str]
    clean: str | None = None
    review: list[dict[str, Any]] | None = None


def decontaminate(
    dataset: str, against: Sequence[str], *, index: Path | None = None, freeze: Path | None = None, out: Path | None = None,
    coverage: float = 0.5, config: ContaminationConfig | None = None, review: float | None = None,
) -> Report:  # fmt: skip
    """Match every row of `dataset` (a file, folder or hub id); `out` is a new folder for clean rows and matches; with
    `review`, a cosine, rows that near a question are listed too, and stay.

    Raises UsageError where neither benchmarks nor a frozen index is given or `out` exists, DataError for what cannot be read.
    """
    if out is not None and os.path.lexists(out):
        raise UsageError(f"{out} exists", "give a folder that does not exist yet")
    built = load(index) if index is not None else None
    if against:
        rows = [benchmarks.items(name) for name in against]
        rows += [built.items] if built is not None else []
        built = contamination.build(pa.concat_tables([r.select(_columns()) for r in rows]), config or ContaminationConfig())
    if built is None:
        raise UsageError("nothing to compare with", "give --against BENCHMARK or --index FILE")
    if freeze is not None:
        save(built, freeze)
    return _report(dataset, built, out, coverage, None if review is None else Reviewer(built.items, review))


def save(index: Index, path: Path) -> None:
    """The index as a Parquet file of its items, with its settings and digest. Raises UsageError where the file exists."""
    if path.exists():
        raise UsageError(f"{path} exists, and a frozen index never changes", "give another file")
    told = json.dumps({"config": index.config.model_dump(mode="json"), "digest": index.digest})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        index.items.select(_columns()).replace_schema_metadata({_META: told.encode()}), path, write_page_checksum=True
    )


def load(path: Path) -> Index:
    """The index of a file that `save` wrote. Raises DataError when it is none, or not what it was."""
    try:
        rows = pq.read_table(path, page_checksum_verification=True)
        told = json.loads((rows.schema.metadata or {})[_META])
        index = contamination.build(rows, ContaminationConfig.model_validate(told["config"]))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} is no frozen index: {error}", "write one with --freeze FILE") from None
    if index.digest != told["digest"]:
        raise DataError(f"{path} is not what was frozen: {index.digest}, not {told['digest']}", "restore it from a copy")
    return index


def _columns() -> list[str]:
    return ["item_id", "benchmark", "part", "text"]


def _report(dataset: str, index: Index, out: Path | None, coverage: float, reviewer: Reviewer | None) -> Report:
    matches: list[dict[str, Any]] = []
    near: list[dict[str, Any]] = []
    count, unreadable = 0, list[str]()
    keep = _Writer(out) if out is not None else None
    for batch in _batches(dataset, unreadable):
        found = _matched(batch, index, coverage)
        count += len(batch)
        matches += found.values()
        near += reviewer.of(batch, found) if reviewer is not None else []
        if keep is not None:
            keep.write([row for at, (_, row) in enumerate(batch) if at not in found])
    if not count:
        raise DataError(f"{dataset} holds no row", "give a file, a folder, or a Hugging Face id")
    if keep is not None:
        keep.close(matches, near)
    tiers = {tier: sum(m["tier"] == tier for m in matches) for tier in TIERS}
    return Report(
        count,
        len(matches),
        tiers,
        _hit(index, matches),
        matches,
        index.digest,
        unreadable,
        str(out) if out else None,
        None if reviewer is None else sorted(near, key=lambda one: -one["cosine"]),
    )


def _batches(dataset: str, unreadable: list[str]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    batch: list[tuple[str, dict[str, Any]]] = []
    for row in benchmarks.rows_of(dataset, unreadable):
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _matched(batch: list[tuple[str, dict[str, Any]]], index: Index, coverage: float) -> dict[int, dict[str, Any]]:
    """The strongest match of each row that has one, by its place in the batch."""
    texts = [(at, column, text) for at, (_, row) in enumerate(batch) for column, text in benchmarks.texts_of(row)]
    names = pa.array([str(i) for i in range(len(texts))], pa.string())
    clean = [text.encode("utf-8", "replace").decode() for _, _, text in texts]
    best: dict[int, dict[str, Any]] = {}
    for edge in contamination.matches(index, names, pa.array(clean, pa.string())).to_pylist():
        at, column, _ = texts[int(edge["a_id"])]
        told = {
            "row": batch[at][0],
            "column": column,
            "item": edge["b_id"],
            "covered": edge["similarity"],
            **json.loads(edge["evidence"]),
        }
        if told["tier"] == "coverage" and told["covered"] < coverage:
            continue
        if at not in best or _rank(told) < _rank(best[at]):
            best[at] = told
    return best


def _rank(match: Mapping[str, Any]) -> tuple[int, float, str]:
    return TIERS.index(match["tier"]), -match["covered"], match["item"]


def _hit(index: Index, matches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per benchmark how many of its questions some row holds."""
    hit = {match["item"] for match in matches}
    told: dict[str, dict[str, Any]] = {}
    for item, name, part in zip(*(index.items[c].to_pylist() for c in ("item_id", "benchmark", "part")), strict=True):
        row = told.setdefault(name, {"benchmark": name, "items": 0, "items hit": 0, "share": 0.0})
        row["items"] += part == "question"
        row["items hit"] += item in hit and part == "question"
        row["share"] = round(row["items hit"] / max(1, row["items"]), 4)
    return list(told.values())


class _Writer:
    """Clean rows as JSON lines, and every match, in a folder that has its name only once it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = new_folder(folder.with_name(f".{folder.name}.part"))
        self.file = (self.temporary / "train.jsonl").open("w", encoding="utf-8")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.file.write(json.dumps(row, ensure_ascii=True, default=str) + "\n")

    def close(self, matches: Sequence[Mapping[str, Any]], near: Sequence[Mapping[str, Any]]) -> None:
        self.file.close()
        evidence = self.temporary / "removed"
        evidence.mkdir()
        (evidence / "matches.json").write_text(json.dumps(list(matches), indent=1, ensure_ascii=False), encoding="utf-8")
        if near:
            (self.temporary / "review.json").write_text(json.dumps(list(near), indent=1, ensure_ascii=False), encoding="utf-8")
        with (self.temporary / "train.jsonl").open("rb") as rows:
            content = file_digest(rows, "sha256").hexdigest()
        front = "\n".join(["---", *card.config_lines({"train": "train.jsonl"}, content), "---", ""])
        (self.temporary / "README.md").write_text(f"{front}\n{_CARD}", encoding="utf-8")
        self.temporary.rename(self.folder)


_CARD = """\
Rows that hold no item of the benchmarks they were compared with by `ratoon decontaminate`; `removed/matches.json` has, for
every row that went, the item, the tier and the words they share. Not seen: items with other numbers,
translations, free paraphrases.
"""
