"""Any data set against any benchmarks: which rows hold an item, how much of each was hit, and the rows that hold none.

Every text of a row is compared, turn by turn and joined; a row's strongest match counts. The index can be frozen in a file: the
same items and settings give the same digest, and a changed file is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.errors import DataError, UsageError
from ratoon.metrics.text import contamination
from ratoon.metrics.text.contamination import TIERS, ContaminationConfig, Index
from ratoon.pipelines.contamination import benchmarks, clean_rows
from ratoon.pipelines.contamination.near_questions import Reviewer
from ratoon.pipelines.contamination.row_texts import Text, texts_of, without_text
from ratoon.rows import record as records
from ratoon.rows.rows import Rows, open_rows

_BATCH = 4096
_META = b"ratoon.contamination"
Batch = list[tuple[str, list[Text]]]


class Report(NamedTuple):
    """How many rows were read, and are contaminated, by tier; items hit per benchmark; every match; rows nobody could read.

    `review` are rows near a question by embeddings, which count as clean; null where nobody asked. `reading` tells how the
    rows were read, and each benchmark; `not_compared` the columns that hold no text; `without_text` the rows that hold none;
    `too_short` the items with too few words for a run: a question is found where a whole turn is equal, an answer never.
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
    reading: str = ""
    read_benchmarks: list[str] | None = None
    not_compared: list[str] | None = None
    without_text: int = 0
    too_short: dict[str, int] | None = None


def decontaminate(
    dataset: str, against: Sequence[str], *, index: Path | None = None, freeze: Path | None = None, out: Path | None = None,
    coverage: float = 0.5, config: ContaminationConfig | None = None, review: float | None = None, split: str | None = None,
) -> Report:  # fmt: skip
    """Match every row of `dataset` (a file, folder or hub id); `out` is a new folder for clean rows and matches; with
    `review`, a cosine, rows that near a question are listed too, and stay.

    Raises UsageError where neither benchmarks nor a frozen index is given, `out` exists, or something beside the rows was not
    read and `out` would call the rest clean; DataError for what cannot be read.
    """
    if out is not None and os.path.lexists(out):
        raise UsageError(f"{out} exists", "give a folder that does not exist yet")
    built = load(index) if index is not None else None
    readings: list[str] = []
    rows = [built.items] if built is not None else []
    for name in against:
        items, reading = benchmarks.opened(name)
        rows.append(items)
        readings.append(reading.line())
    if not rows:
        raise UsageError("nothing to compare with", "give --against BENCHMARK or --index FILE")
    items = pa.concat_tables([r.select(_columns()) for r in rows])
    if against:
        built = contamination.build(items, config or ContaminationConfig())
    assert built is not None
    if freeze is not None:
        save(built, freeze)
    opened = open_rows(dataset, split=split)
    _refuse_unread(opened, out)
    reviewer = None if review is None else Reviewer(built.items, review)
    report = _report(opened, built, items, out, coverage, reviewer)
    return report._replace(read_benchmarks=readings or None)


def _refuse_unread(rows: Rows, out: Path | None) -> None:
    """Raise UsageError where a file of a kind nobody reads lies among the rows: it cannot be called clean."""
    unread = {name: why for name, why in rows.reading.left_out.items() if why.endswith("is not read")}
    if out is not None and unread:
        name, why = next(iter(unread.items()))
        raise UsageError(
            f"{len(unread)} files of {rows.name} were not read, such as {name} ({why}), so the rest is not all of it",
            "convert them, or move them elsewhere",
        )


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


def _report(rows: Rows, index: Index, items: pa.Table, out: Path | None, coverage: float, reviewer: Reviewer | None) -> Report:
    roles = records.columns(rows)
    matches: list[dict[str, Any]] = []
    near: list[dict[str, Any]] = []
    unreadable, silent, other = list[str](), 0, dict[str, None]()
    for batch in _batches(rows, roles, unreadable, other):
        found = _matched(batch, index, coverage)
        silent += sum(not texts for _, texts in batch)
        matches += found.values()
        near += reviewer.of(batch, found) if reviewer is not None else []
    count = rows.reading.rows
    rows.reading.check()
    if not count:
        raise DataError(f"{rows.name} holds no row", "give a file, a folder, or a Hugging Face id")
    if silent == count:
        raise DataError(f"no row of {rows.name} holds a text to compare", f"its columns: {', '.join(rows.columns()) or 'none'}")
    told = rows.reading.line()
    near.sort(key=lambda one: -one["cosine"])
    if out is not None:
        clean_rows.write(rows, {match["row"] for match in matches}, out, matches, near, unreadable)
    return Report(
        count, len(matches), {tier: sum(m["tier"] == tier for m in matches) for tier in TIERS}, _hit(items, matches), matches,
        index.digest, unreadable, str(out) if out else None, None if reviewer is None else near, told,
        not_compared=list(other), without_text=silent, too_short=_too_short(items, index),
    )  # fmt: skip


def _batches(rows: Rows, roles: Mapping[str, str], unreadable: list[str], other: dict[str, None]) -> Iterator[Batch]:
    """Texts by row; what is unreadable and which columns hold no text is added to the last two."""
    batch: Batch = []
    for item in rows.items():
        if item.problem is not None:
            unreadable.append(f"{item.where}: {item.problem}")
            continue
        if not batch:  # of one row in so many: columns hold the same kind of thing throughout
            other.update(dict.fromkeys(without_text(item.row)))
        batch.append((item.where, texts_of(item.row, roles)))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _matched(batch: Batch, index: Index, coverage: float) -> dict[int, dict[str, Any]]:
    """The strongest match of each row that has one, by its place in the batch."""
    cut: dict[str, list[str]] = {}
    for _, texts in batch:
        for piece in (piece for text in texts for piece in text.pieces if piece not in cut):
            cut[piece] = contamination.cut(piece.encode("utf-8", "replace").decode(), index.config)
    owners = [(at, text) for at, (_, texts) in enumerate(batch) for text in texts]
    joined = [[word for piece in text.pieces for word in cut[piece]] for _, text in owners]
    best: dict[int, dict[str, Any]] = {}
    for (at, text), match in zip(owners, contamination.compare(index, joined), strict=True):
        whole = next((m for piece in text.pieces if (m := contamination.exact(index, cut[piece])) is not None), None)
        match = whole or match
        if match is None or (match.tier == contamination.COVERAGE and match.share < coverage):
            continue
        told = {
            "row": batch[at][0], "column": text.column, "item": index.items["item_id"][match.item].as_py(),
            "covered": match.share, "tier": match.tier, "words": match.words,
        }  # fmt: skip
        if at not in best or _rank(told) < _rank(best[at]):
            best[at] = told
    return best


def _rank(match: Mapping[str, Any]) -> tuple[int, float, str]:
    return TIERS.index(match["tier"]), -match["covered"], match["item"]


def _hit(items: pa.Table, matches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many items of each benchmark some row holds, by question or answer."""
    hit = {_item(match["item"]) for match in matches}
    told: dict[str, dict[str, Any]] = {}
    names = zip(items["item_id"].to_pylist(), items["benchmark"].to_pylist(), strict=True)
    for item, benchmark in dict.fromkeys((_item(item), benchmark) for item, benchmark in names):
        row = told.setdefault(benchmark, {"benchmark": benchmark, "items": 0, "items hit": 0, "share": 0.0})
        row["items"] += 1
        row["items hit"] += item in hit
        row["share"] = round(row["items hit"] / row["items"], 4)
    return list(told.values())


def _item(item_id: str) -> str:
    """The item of which a question or an answer is part."""
    return item_id.rpartition(":")[0]


def _too_short(items: pa.Table, index: Index) -> dict[str, int]:
    """Questions that only a whole turn equals, and answers that are not looked for."""
    short = [len(words) < index.config.short for words in index.words]
    questions = sum(brief and part == "question" for brief, part in zip(short, index.items["part"].to_pylist(), strict=True))
    return {"questions": questions, "answers": items.num_rows - index.items.num_rows}
