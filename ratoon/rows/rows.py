"""What a user names (a file, a folder, an id of the hub), opened as rows with the report of how they were read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError
from ratoon.rows import folder as folders
from ratoon.rows.batches import unlike_names
from ratoon.rows.chunk import Chunk, Item
from ratoon.rows.hub import Hub
from ratoon.rows.kinds import READERS, TYPED
from ratoon.rows.reading import Reading
from ratoon.rows.source import READ, SourceFile, kind_of

_LOOKED = 20  # files whose columns are read ahead


class Rows:
    """Rows of files or of the hub. `reading` counts them while they are read."""

    def __init__(self, name: str, files: Sequence[SourceFile], hub: Hub | None, reading: Reading) -> None:
        self.name, self.files, self.hub, self.reading = name, list(files), hub, reading

    @property
    def splits(self) -> list[str]:
        """The splits there are, in order; none where nothing names one."""
        if self.hub is not None:
            return self.hub.names
        return list(dict.fromkeys(file.split for file in self.files if file.split is not None))

    def of_split(self, split: str) -> Rows:
        """The rows of one split. Raises DataError where there is none."""
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}", f"its splits: {', '.join(self.splits) or 'none'}")
        self.reading.split = split
        files = [file for file in self.files if file.split == split]
        self.reading.files = [file.name for file in files] or self.reading.files
        return Rows(self.name, files, self.hub, self.reading)

    def columns(self) -> list[str]:
        """All names of columns, in the order in which they come. Raises DataError where two of a file are alike."""
        if self.hub is not None:
            return self.hub.columns()
        names: dict[str, None] = {}
        for file in self.files[:_LOOKED]:
            names.update(dict.fromkeys(READERS[file.kind or ""].columns(file)))
        return unlike_names(list(names), Path(self.name))

    def head(self, n: int = 200) -> list[dict[str, Any]]:
        """The first rows, which are not counted."""
        rows: list[dict[str, Any]] = []
        for _, chunk in self._chunks(None, lambda _: None):
            rows += chunk.rows
            if len(rows) >= n:
                break
        return rows[:n]

    def items(self, wanted: Collection[str] | None = None) -> Iterator[Item]:
        """Every row, and every one that cannot be read with its reason; only columns `wanted` must be there."""
        for split, chunk in self._chunks(wanted, self.reading.note):
            self.reading.rows += len(chunk.rows)
            for where, row in zip(chunk.places, chunk.rows, strict=True):
                yield Item(where, row, split)
            for where, problem in chunk.problems:
                self.reading.add_unreadable(where, problem)
                yield Item(where, {}, split, problem)

    @property
    def typed(self) -> bool:
        """Whether every file holds typed columns (Parquet, Arrow, the hub), which `tables` gives as they are."""
        return self.hub is not None or (bool(self.files) and all(file.kind in TYPED for file in self.files))

    def tables(self) -> Iterator[tuple[str | None, list[str], pa.RecordBatch]]:
        """Split, places and batch by batch the typed rows; nothing is counted."""
        if self.hub is not None:
            yield from ((split, *batch) for split in self._chosen() for batch in self.hub.tables(split))
        for file in self.files:
            yield from ((file.split, *batch) for batch in TYPED[file.kind or ""].tables(file))

    def digest(self) -> str:
        """Of every file's name and bytes; of the hub the id."""
        state = blake2b(self.name.encode() if self.hub is not None else b"", digest_size=16)
        for file in self.files:
            state.update(file.path.name.encode())
            with file.path.open("rb") as opened:
                while block := opened.read(1 << 20):
                    state.update(block)
        return state.hexdigest()

    def _chosen(self) -> list[str]:
        return [self.reading.split] if self.reading.split is not None else self.splits

    def _chunks(self, wanted: Collection[str] | None, note: Any) -> Iterator[tuple[str | None, Chunk]]:
        if self.hub is not None:
            yield from ((split, chunk) for split in self._chosen() for chunk in self.hub.chunks(split))
        for file in self.files:
            yield from ((file.split, chunk) for chunk in READERS[file.kind or ""].chunks(file, wanted, note))


def open_rows(name: str | Path, *, split: str | None = None, config: str | None = None, revision: str | None = None) -> Rows:
    """The rows of a file, a folder (`FOLDER:CONFIG` of one with a card) or an id of the hub (`ID:CONFIG`).

    Raises DataError for what is not there or of no kind that is read, MissingExtra for the hub without `datasets`.
    """
    path, told = Path(name), str(name)
    if not path.exists() and config is None and ":" in told and Path(told.rpartition(":")[0]).is_dir():
        folder_name, _, config = told.rpartition(":")
        path = Path(folder_name)
    if path.is_dir():
        rows = _of_folder(path, config)
    elif path.exists():
        rows = _of_file(path)
    elif not is_hub_id(told):
        raise DataError(f"there is no {name}", "give a file, a folder, or a Hugging Face id")
    else:
        hub = Hub(told, config, revision)
        rows = Rows(told, [], hub, Reading(told, files=[told], splits=hub.names, config=hub.config))
    return rows if split is None else rows.of_split(split)


def is_hub_id(name: str) -> bool:
    """Whether it can only be an id of the hub: nothing of that name is here, and it has the form of none of our files."""
    path, folder = Path(name), Path(name.rpartition(":")[0])
    if path.exists() or (":" in name and folder.is_dir()) or path.is_absolute() or kind_of(path) is not None:
        return False
    return not name.startswith((".", "~")) and name.count("/") <= 1


def _of_file(path: Path) -> Rows:
    if kind_of(path) is None:
        raise DataError(f"{path} is of no kind that is read", f"kinds that are read: {READ}")
    return Rows(str(path), [SourceFile(path, path.name)], None, Reading(str(path), files=[path.name]))


def _of_folder(path: Path, config: str | None) -> Rows:
    found = folders.folder(path, config)
    reading = Reading(
        str(path), files=[file.name for file in found.files], left_out=found.left_out, configs=found.configs,
        config=found.config if len(found.configs) > 1 else None,
    )  # fmt: skip
    rows = Rows(str(path), found.files, None, reading)
    reading.splits = rows.splits
    return rows
