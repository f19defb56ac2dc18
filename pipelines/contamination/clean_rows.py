"""The rows that hold no item, as a new data set folder: Parquet stays Parquet with its types, all else becomes JSON lines."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from ratoon.rows.rows import Rows
from ratoon.sft.data import card
from ratoon.store.files import new_folder

_CARD = """\
Rows that hold no item of the benchmarks they were compared with by `ratoon decontaminate`; `removed/matches.json` has, for
every row that went, the item, the tier and the words they share. Not seen: items with other numbers,
translations, free paraphrases.
"""


def write(
    rows: Rows, dropped: Collection[str], folder: Path, matches: Sequence[Mapping[str, Any]], near: Sequence[Mapping[str, Any]],
    unreadable: Sequence[str],
) -> None:  # fmt: skip
    """`folder` with the rows whose place is not in `dropped`, a file a split, and every match; it has its name once whole."""
    temporary = new_folder(folder.with_name(f".{folder.name}.part"))
    tables = rows.tables() if rows.typed else None
    files = _parquet(tables, dropped, temporary) if tables is not None else _json_lines(rows, dropped, temporary)
    evidence = temporary / "removed"
    evidence.mkdir()
    _json(evidence / "matches.json", matches)
    if unreadable:
        _json(evidence / "unreadable.json", unreadable)
    if near:
        _json(temporary / "review.json", near)
    front = "\n".join(["---", *card.config_lines(files, _digest(temporary, files)), "---", ""])
    (temporary / "README.md").write_text(f"{front}\n{_CARD}", encoding="utf-8")
    temporary.rename(folder)


def plain(value: Any) -> Any:
    """A value as JSON holds it: bytes as base64, NaN and infinities as null, times as ISO 8601, other numbers as text.

    >>> plain({"img": b"abc", "reward": float("nan")})
    {'img': 'YWJj', 'reward': None}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _json_lines(rows: Rows, dropped: Collection[str], folder: Path) -> dict[str, str]:
    """The name of each split's file."""
    opened: dict[str, Any] = {}
    try:
        for item in rows.items():
            split = item.split or "train"
            if split not in opened:
                opened[split] = (folder / f"{split}.jsonl").open("w", encoding="utf-8")
            if item.problem is None and item.where not in dropped:
                opened[split].write(json.dumps(plain(item.row), ensure_ascii=True) + "\n")
    finally:
        for file in opened.values():
            file.close()
    return {split: f"{split}.jsonl" for split in opened}


def _parquet(tables: Any, dropped: Collection[str], folder: Path) -> dict[str, str]:
    """The pattern of each split's files: one for each file or unlike schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: dict[tuple[str, pa.Schema], pq.ParquetWriter] = {}
    counts: dict[str, int] = {}
    for split, places, table in tables:
        key = split or "train", table.schema
        if key not in writers:
            number = counts[key[0]] = counts.get(key[0], -1) + 1
            writers[key] = pq.ParquetWriter(folder / f"{key[0]}-{number:05d}.parquet", table.schema, write_page_checksum=True)
        kept = pa.array([place not in dropped for place in places], pa.bool_())
        writers[key].write_table(pa.Table.from_batches([table.filter(kept)], table.schema))
    for writer in writers.values():
        writer.close()
    return {split: f"{split}-*.parquet" for split in counts}


def _digest(folder: Path, files: Mapping[str, str]) -> str:
    state = blake2b(digest_size=32)
    for pattern in files.values():
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as opened:
                state.update(file_digest(opened, "sha256").digest())
    return state.hexdigest()


def _json(path: Path, value: Sequence[Any]) -> None:
    path.write_text(json.dumps(list(value), indent=1, ensure_ascii=False), encoding="utf-8")
