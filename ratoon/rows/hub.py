"""A data set of the Hugging Face hub by its id, read by `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError, MissingExtra
from ratoon.rows import batches
from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import READ


class Hub:
    """The splits of one config of a data set; `ID:CONFIG` names another config than the default."""

    def __init__(self, name: str, config: str | None = None, revision: str | None = None) -> None:
        """Raises DataError where it cannot be loaded, MissingExtra without `datasets`."""
        repo, _, inside = name.partition(":")
        self.config = config or inside or None
        try:
            import datasets
        except ImportError:
            raise MissingExtra("datasets", "tasks") from None
        try:
            self._splits: dict[str, Any] = dict(datasets.load_dataset(repo, self.config, revision=revision))
        except Exception as error:  # the hub's errors share no base
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise DataError(
                f"cannot load {name!r}: {reason}",
                f"it is no file of type {READ}, so it was looked for on the Hugging Face hub: check the id, its config and "
                "the network, or give a local file",
            ) from None
        self.names = [str(split) for split in self._splits]

    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys(name for rows in self._splits.values() for name in rows.column_names))

    def chunks(self, split: str) -> Iterator[Chunk]:
        """The rows of a split; images and the like as they are stored."""
        for places, batch in self.tables(split):
            yield batches.chunk(batch, places)

    def tables(self, split: str) -> Iterator[tuple[list[str], pa.RecordBatch]]:
        """Places and batch by batch the typed rows of a split."""
        at = 0
        for table in self._splits[split].with_format("arrow").iter(CHUNK):
            for batch in table.to_batches():
                yield batches.places(split, at, batch.num_rows), batch
                at += batch.num_rows
