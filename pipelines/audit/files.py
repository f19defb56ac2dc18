"""A file or folder of rows that ratoon did not make, as the audit's table: Parquet, JSONL, JSON, CSV, Arrow.

Rows are read a chunk at a time, and of more than can be held whole tasks are kept by hash, so that equal rows stay together.
A row that cannot be read is counted and told; a column of lists of messages is split into what was asked and the last reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratoon import hashes
from ratoon.errors import DataError
from ratoon.generators.tasks.files import columns_of, read_file
from ratoon.metrics.report.frame import FRAME, frame
from ratoon.pipelines.audit import coerce as audit_values
from ratoon.pipelines.audit import columns as audit_columns

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".arrow")
_CHUNK = 20_000
_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|validation|valid|val|dev|eval)(?:[^a-z]|$)")
_NOT_ROWS = {
    "dataset_info.json",
    "state.json",
    "dataset_dict.json",
    "dataset.json",
    "config.json",
    "matches.json",
    "report.json",
}
_TOP = np.uint64(1 << 53)


class Read(NamedTuple):
    """Rows of FRAME, how many there were in all, the column map, what must be told, and the held-out rows of other splits."""

    rows: pa.Table
    total: int
    columns: dict[str, str]
    notes: list[str]
    held: pa.Table
    digest: str


def files_of(path: Path) -> list[Path]:
    """The data files of a file or folder, in order. Raises DataError where there is none."""
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path} is of no kind that is read", f"kinds that are read: {', '.join(SUFFIXES)}")
        return [path]
    found = [
        f for f in sorted(path.rglob("*"))
        if f.suffix in SUFFIXES and f.is_file() and f.name not in _NOT_ROWS
        and not any(part.startswith(".") or part == "removed" for part in f.relative_to(path).parts)
    ]  # fmt: skip
    if not found:
        raise DataError(f"{path} holds no data file", f"kinds that are read: {', '.join(SUFFIXES)}")
    return found


def read(path: Path, asked: Mapping[str, str], most: int, seed: int) -> Read:
    """The rows of a file or folder; splits other than train are held out where there is one.

    Raises DataError where a file cannot be read at all or an asked column is not there.
    """
    files = files_of(path)
    by_split = [(f, _split_of(f.relative_to(path) if path.is_dir() else Path(f.name))) for f in files]
    train = [f for f, split in by_split if split == "train"]
    used = train or files
    held = [f for f, split in by_split if train and split not in ("train", None)]
    names = _names(used)
    found = audit_columns.column_map(names, asked, str(path))
    notes = [audit_columns.told(found, asked)] if names else []
    reader = _Reader(found, most, seed, path if path.is_dir() else path.parent)
    total = sum(_count(f) for f in used)
    reader.share = min(1.0, most / total) if total else 1.0
    for file in used:
        reader.take(file)
    rows = reader.table()
    if total > most:
        notes.append(f"{rows.num_rows} of {total} rows were read: whole tasks chosen by hash of seed {seed}")
    if reader.bad:
        notes.append(f"{reader.bad} rows could not be read, the first {reader.first_bad}")
    if not {"prompt", "completion", "messages"} & set(found) and names:
        notes.append(f"no column of text was found among {', '.join(names)}")
    others = _held(held, found, path) if held else frame({}, 0)
    return Read(rows, max(total - reader.bad, rows.num_rows), found, notes, others, _digest(files))


def _names(files: Sequence[Path]) -> list[str]:
    names: dict[str, None] = {}
    for file in files[:20]:
        names.update(dict.fromkeys(_columns(file)))
    return list(names)


def _columns(file: Path) -> list[str]:
    if file.stat().st_size == 0:
        return []
    if file.suffix in (".json", ".jsonl", ".ndjson"):
        first: dict[str, None] = {}
        for _, row, _ in _head(_items(file), 200):
            first.update(dict.fromkeys(row))
        return list(first)
    return _arrow(file).schema.names if file.suffix == ".arrow" else columns_of(file)


def _head(items: Iterator[tuple[str, dict[str, Any], str | None]], n: int) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    for _, item in zip(range(n), items, strict=False):
        yield item


def _split_of(path: Path) -> str | None:
    found = _SPLIT.search(path.with_suffix("").as_posix().lower())
    return found[1] if found else None


def _count(file: Path) -> int:
    """Rows of a file, bad ones included; of JSON lines the lines."""
    if file.stat().st_size == 0:
        return 0
    if file.suffix == ".parquet":
        return int(_parquet(file).metadata.num_rows)
    if file.suffix == ".arrow":
        return sum(batch.num_rows for batch in _arrow(file))
    if file.suffix == ".csv":
        return sum(1 for _ in read_file(file)) if len(list(_head_lines(file))) > 1 else 0
    if _is_list(file):
        return sum(1 for _ in _items(file))
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _head_lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from (line for _, line in zip(range(2), lines, strict=False))


def _parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is no readable Parquet file: {error}", "write it anew") from None


def _arrow(file: Path) -> Any:
    """Batches of an Arrow stream or file, as `datasets.save_to_disk` writes them."""
    try:
        return pa.ipc.open_stream(pa.memory_map(str(file)))
    except pa.ArrowException:
        try:
            opened = pa.ipc.open_file(pa.memory_map(str(file)))
            return pa.RecordBatchReader.from_batches(
                opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
            )
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} is no readable Arrow file: {error}", "write it anew") from None


def _is_list(file: Path) -> bool:
    if file.suffix != ".json":
        return False
    with file.open("rb") as opened:
        return opened.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _items(file: Path) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Place, row and what is wrong with it, of JSON lines, a JSON list, or CSV."""
    if file.suffix == ".csv":
        yield from ((item.where, item.row, item.problem) for item in read_file(file))
        return
    if _is_list(file):
        try:
            rows = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file} is no readable JSON: {error}", "write it anew") from None
        for i, row in enumerate(rows):
            ok = isinstance(row, dict)
            yield f"{file.name}:{i}", row if ok else {}, None if ok else "no object"
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _line(f"{file.name}:{number}", line.removeprefix(b"\xef\xbb\xbf"))


def _line(where: str, line: bytes) -> tuple[str, dict[str, Any], str | None]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        return where, {}, "not valid UTF-8"
    except (ValueError, RecursionError) as error:
        return where, {}, f"not JSON: {error}"
    return (where, row, None) if isinstance(row, dict) else (where, {}, f"a JSON {type(row).__name__}, not an object")


class _Reader:
    """Chunks of files as tables of FRAME, of which a share of tasks is kept; ids for rows that have none."""

    def __init__(self, columns: Mapping[str, str], most: int, seed: int, root: Path) -> None:
        self.columns, self.most, self.seed, self.root = columns, most, seed, root
        self.share, self.bad, self.first_bad = 1.0, 0, ""
        self.parts: list[pa.Table] = []
        self.by_prompt: bool | None = None

    def take(self, file: Path) -> None:
        """Keep what is to be kept of a file."""
        for part in self._chunks(file):
            self.parts.append(self._kept(part) if self.share < 1 else part)

    def _chunks(self, file: Path) -> Iterator[pa.Table]:
        if file.stat().st_size == 0:
            return
        if file.suffix in (".parquet", ".arrow"):
            yield from self._batches(file)
            return
        if not _count(file):
            return
        places: list[str] = []
        rows: list[dict[str, Any]] = []
        for where, row, problem in _items(file):
            if problem is not None:
                self._count_bad(where, problem)
                continue
            places.append(where)
            rows.append(row)
            if len(rows) == _CHUNK:
                yield self._of_rows(places, rows)
                places, rows = [], []
        if rows:
            yield self._of_rows(places, rows)

    def _count_bad(self, where: str, problem: str) -> None:
        self.bad += 1
        self.first_bad = self.first_bad or f"{where}: {problem}"

    def _batches(self, file: Path) -> Iterator[pa.Table]:
        at, name = 0, file.relative_to(self.root).as_posix()
        names = set(_columns(file))
        wanted = sorted({theirs for theirs in self.columns.values() if theirs in names})
        source = _arrow(file) if file.suffix == ".arrow" else _parquet(file).iter_batches(_CHUNK, columns=wanted)
        try:
            for batch in source:
                places = [f"{name}:{at + i}" for i in range(batch.num_rows)]
                at += batch.num_rows
                given = {n: batch.column(batch.schema.get_field_index(n)) for n in wanted}
                yield self._framed(places, {ours: given.get(theirs) for ours, theirs in self.columns.items()})
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} cannot be read past row {at}: {error}", "write it anew") from None

    def _of_rows(self, places: list[str], rows: list[dict[str, Any]]) -> pa.Table:
        return self._framed(places, {ours: [row.get(theirs) for row in rows] for ours, theirs in self.columns.items()})

    def _framed(self, places: list[str], given: Mapping[str, Any]) -> pa.Table:
        found: dict[str, Any] = {"place": places}
        for ours, values in given.items():
            if values is None:
                continue
            if ours == "messages":
                prompts, replies = audit_values.turns(values.to_pylist() if isinstance(values, pa.Array) else values)
                found |= {"prompt": prompts, "completion": replies}
            else:
                found[ours] = audit_values.typed(values, FRAME.field(ours).type, last=ours == "completion")
        return frame(found, len(places))

    def _kept(self, part: pa.Table) -> pa.Table:
        """The rows whose task (prompt) hashes low; by their own text where most rows share a prompt."""
        key = part["task_id"] if part["task_id"].null_count < part.num_rows else part["prompt"]
        if self.by_prompt is None:
            self.by_prompt = pc.count_distinct(key).as_py() > 0.1 * part.num_rows
        digests = hashes.text_digests(key if self.by_prompt else part["completion"])
        drawn = hashes.mix(digests[:, 0] + np.uint64(self.seed)) >> np.uint64(11)
        return part.filter(pa.array(drawn < np.uint64(self.share * float(_TOP))))

    def table(self) -> pa.Table:
        """All that was kept, with ids."""
        rows = pa.concat_tables([frame({}, 0), *self.parts])
        rows = rows.slice(0, self.most).combine_chunks()
        if not rows.num_rows:
            return rows
        names = audit_values.row_ids(rows) if rows["row_id"].null_count or audit_values.twice(rows["row_id"]) else None
        if names is not None:
            rows = rows.set_column(0, FRAME.field("row_id"), pa.array(names, pa.string()))
        if rows["task_id"].null_count:
            tasks = pc.coalesce(rows["task_id"], pa.chunked_array([audit_values.task_ids(rows)]))
            rows = rows.set_column(FRAME.get_field_index("task_id"), FRAME.field("task_id"), tasks)
        return rows.sort_by("row_id")


def _held(files: Sequence[Path], columns: Mapping[str, str], path: Path) -> pa.Table:
    """Rows of the other splits: what was held out."""
    reader = _Reader(columns, 50_000, 0, path)
    for file in files:
        reader.take(file)
    return reader.table()


def _digest(files: Sequence[Path]) -> str:
    """Of every file's name and bytes."""
    state = blake2b(digest_size=16)
    for file in files:
        state.update(file.name.encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                state.update(block)
    return state.hexdigest()
