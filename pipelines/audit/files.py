"""A file or folder of rows that ratoon did not make, as the audit's table, whatever its layout.

Of more rows than can be held whole tasks are kept by hash, so that equal rows stay together. What was read and how is a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import hashes
from ratoon.metrics.report.frame import FRAME, frame
from ratoon.pipelines.audit import coerce as audit_values
from ratoon.rows import record as records
from ratoon.rows.labels import verdicts
from ratoon.rows.reading import Reading
from ratoon.rows.record import Record
from ratoon.rows.rows import Rows, open_rows
from ratoon.surrogates import without_surrogates

_CHUNK = 20_000
_HELD = 50_000
_TOP = np.uint64(1 << 53)
# The columns of FRAME that a row's facts give, by role.
_FACTS = {
    "row_id": "id", "task_id": "group", "iteration": "round", "answer": "prediction", "passed": "label", "reward": "reward",
    "pass_rate": "pass_rate", "n_tokens": "n_tokens", "finish_reason": "finish_reason", "family": "family", "split": "split",
}  # fmt: skip


class Read(NamedTuple):
    """Rows of FRAME, how many there were in all, the column of each role, what must be told, rows of other splits, how they
    were read."""

    rows: pa.Table
    total: int
    columns: dict[str, str]
    notes: list[str]
    held: pa.Table
    digest: str
    reading: Reading | None = None


def read(path: Path, asked: Mapping[str, str], most: int, seed: int) -> Read:
    """The rows of a file or folder; splits other than train are held out where there is one.

    Raises DataError where a file, or half of the rows, cannot be read, or an asked column is not there.
    """
    if path.is_file() and not path.stat().st_size:
        return Read(frame({}, 0), 0, {}, [f"{path.name} is empty"], frame({}, 0), "")
    rows = open_rows(path)
    digest, columns = rows.digest(), records.columns(rows, asked)
    others = [split for split in rows.splits if split != "train"] if "train" in rows.splits else []
    reader = _Reader(columns, most, seed)
    for chunk in _chunks(rows.of_split("train") if others else rows, columns):
        reader.take(chunk)
    reading = rows.reading
    reading.check()
    table = reader.table()
    notes = list(reader.notes)
    if table.num_rows < reader.total:
        notes.append(f"{table.num_rows} of {reader.total} rows were read: whole tasks chosen by hash of seed {seed}")
    if not columns.keys() & {"prompt", "completion", "completions", "messages"} and reading.rows:
        notes.append(f"no column of text was found among {', '.join(rows.columns())}")
    held = _held(path, others, columns) if others else frame({}, 0)
    return Read(table, reader.total, columns, notes, held, digest, reading)


def _chunks(rows: Rows, columns: Mapping[str, str]) -> Iterator[list[tuple[str, Record, int]]]:
    """Place, record and number of the reply, some thousand at a time; a record without a reply is a row too."""
    chunk: list[tuple[str, Record, int]] = []
    names = {part for name in columns.values() for part in (name, *name.split("+"))}
    for one in records.records(rows.items(names), columns):
        several = len(one.replies) > 1
        chunk += [(f"{one.where}#{n}" if several else one.where, one, n) for n in range(max(1, len(one.replies)))]
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Reader:
    """Rows of FRAME from records, of which a share of tasks is kept."""

    def __init__(self, columns: Mapping[str, str], most: int, seed: int) -> None:
        self.columns, self.most, self.seed = columns, most, seed
        self.total = 0
        self.notes: list[str] = []
        self.parts: list[pa.Table] = []
        self.labels: list[list[Any]] = []
        self.drawn: list[np.ndarray] = []
        self.by_prompt: bool | None = None

    def take(self, chunk: list[tuple[str, Record, int]]) -> None:
        """Add rows; those that can no longer be among the kept ones are let go."""
        self.total += len(chunk)
        given: dict[str, Any] = {
            "place": [place for place, _, _ in chunk],
            "prompt": [_text(one.asked) for _, one, _ in chunk],
            "completion": [_text(one.texts[n]) if one.replies else None for _, one, n in chunk],
        }
        if self.columns.get("answer") != self.columns.get("completion"):
            given["gold"] = [_text(one.answers[0]) if one.answers else None for _, one, _ in chunk]
        for name, role in _FACTS.items():
            if role in self.columns and role != "label":
                given[name] = self._typed(name, [_of(one.facts.get(role), n) for _, one, n in chunk])
        part = frame(given, len(chunk))
        labels = [_of(one.facts.get("label"), n) for _, one, n in chunk]
        self._keep(part, labels)

    def _typed(self, name: str, values: list[Any]) -> pa.Array:
        """Values as the type of a column of FRAME; a number that does not fit is null, and told."""
        kind = FRAME.field(name).type
        if pa.types.is_integer(kind):
            most = 2 ** (kind.bit_width - 1)
            numbers = [audit_values.number(value, whole=True) for value in values]
            if any(number is not None and not -most <= number < most for number in numbers):
                self._note(f"column {self.columns[_FACTS[name]]}: numbers too large for {_FACTS[name]} are unknown")
            return pa.array([n if n is not None and -most <= n < most else None for n in numbers], kind)
        if pa.types.is_floating(kind):
            return pa.array([audit_values.number(value, whole=False) for value in values], kind)
        return pa.array([None if value is None or value == "" else _text(str(value)) for value in values], kind)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _keep(self, part: pa.Table, labels: list[Any]) -> None:
        key = part["task_id"] if part["task_id"].null_count < part.num_rows else part["prompt"]
        if self.by_prompt is None:
            self.by_prompt = pc.count_distinct(key).as_py() > 0.1 * part.num_rows
        digests = hashes.text_digests(key if self.by_prompt else part["completion"])
        drawn = hashes.mix(digests[:, 0] + np.uint64(self.seed)) >> np.uint64(11)
        chosen = np.flatnonzero(drawn < self._limit())
        self.parts.append(part.take(pa.array(chosen)))
        self.labels.append([labels[i] for i in chosen])
        self.drawn.append(drawn[chosen])

    def _limit(self) -> np.uint64:
        """The draw under which a row is kept, as far as is known: the more rows, the lower."""
        return np.uint64(min(1.0, self.most / max(1, self.total)) * float(_TOP))

    def table(self) -> pa.Table:
        """All that was kept, with verdicts and ids, in order of ids."""
        if not self.parts:
            return frame({}, 0)
        rows = pa.concat_tables(self.parts)
        passed, told = verdicts([value for labels in self.labels for value in labels])
        if told is not None:
            self._note(f"column {self.columns['label']}: {told}")
        rows = rows.set_column(FRAME.get_field_index("passed"), FRAME.field("passed"), pa.array(passed, pa.bool_()))
        kept = np.concatenate(self.drawn) < self._limit() if self.total > self.most else np.ones(rows.num_rows, bool)
        chosen = np.flatnonzero(kept)
        rows = rows.take(pa.array(chosen[: self.most])).combine_chunks()
        return _named(rows) if rows.num_rows else rows


def _named(rows: pa.Table) -> pa.Table:
    """The rows with ids of their own and of their tasks, where the file has none or not one each."""
    if rows["row_id"].null_count or audit_values.twice(rows["row_id"]):
        rows = rows.set_column(0, FRAME.field("row_id"), pa.array(audit_values.row_ids(rows), pa.string()))
    if rows["task_id"].null_count:
        tasks = pc.coalesce(rows["task_id"], pa.chunked_array([audit_values.task_ids(rows)]))
        rows = rows.set_column(FRAME.get_field_index("task_id"), FRAME.field("task_id"), tasks)
    return rows.sort_by("row_id")


def _held(path: Path, splits: list[str], columns: Mapping[str, str]) -> pa.Table:
    """Rows of the other splits: what was held out."""
    reader = _Reader(columns, _HELD, 0)
    for split in splits:
        for chunk in _chunks(open_rows(path, split=split), columns):
            reader.take(chunk)
    return reader.table()


def _of(value: Any, n: int) -> Any:
    """The value of reply n, where a column holds one for each."""
    if isinstance(value, list):
        return value[n] if n < len(value) else None
    return value


def _text(text: str | None) -> str | None:
    return None if text is None else without_surrogates(text)[0]
