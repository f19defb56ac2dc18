"""Rows of an Arrow stream or file, as `datasets.save_to_disk` and Feather write them; numbers of rows count from 0."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError
from ratoon.rows import batches
from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import COMPRESSIONS, SourceFile


def columns(source: SourceFile) -> list[str]:
    """The names of its columns. Raises DataError where two are alike or the file is no Arrow."""
    return batches.unlike_names(opened(source).schema.names, source.path)


def chunks(source: SourceFile, wanted: Collection[str] | None, note: Callable[[str], None]) -> Iterator[Chunk]:
    """Its rows. Raises DataError past a batch that is damaged."""
    for places, batch in tables(source):
        chosen = [name for name in batch.schema.names if wanted is None or name in wanted]
        yield batches.chunk(batch.select(chosen) if chosen else batch, places)


def tables(source: SourceFile) -> Iterator[tuple[list[str], pa.RecordBatch]]:
    """Places and batch by batch its typed rows. Raises DataError past a batch that is damaged."""
    reader, at = opened(source), 0
    batches.unlike_names(reader.schema.names, source.path)
    try:
        for batch in reader:
            for start in range(0, batch.num_rows, CHUNK):
                part = batch.slice(start, CHUNK)
                yield batches.places(source.name, at + start, part.num_rows), part
            at += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path} cannot be read past row {at}: {error}", "write it anew") from None


def opened(source: SourceFile) -> Any:
    """Its batches, with their schema. Raises DataError."""
    packed = source.path.suffix.lower() in COMPRESSIONS
    try:
        data = pa.BufferReader(source.read()) if packed else pa.memory_map(str(source.path))
        try:
            return pa.ipc.open_stream(data)
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(data)
            return pa.RecordBatchReader.from_batches(file.schema, map(file.get_batch, range(file.num_record_batches)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path} is no readable Arrow file: {error}", "write it anew") from None
