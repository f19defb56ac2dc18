"""Rows of a Parquet file; numbers of rows count from 0. A text that is no UTF-8 costs its row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.errors import DataError
from ratoon.rows import batches
from ratoon.rows.chunk import CHUNK, Chunk
from ratoon.rows.source import COMPRESSIONS, SourceFile


def columns(source: SourceFile) -> list[str]:
    """The names of its columns. Raises DataError where two are alike or the file is no Parquet."""
    return batches.unlike_names(opened(source).schema_arrow.names, source.path)


def chunks(source: SourceFile, wanted: Collection[str] | None, note: Callable[[str], None]) -> Iterator[Chunk]:
    """Its rows. Raises DataError past a page that is damaged."""
    for places, batch in tables(source, wanted):
        yield batches.chunk(batch, places)


def tables(source: SourceFile, wanted: Collection[str] | None = None) -> Iterator[tuple[list[str], pa.RecordBatch]]:
    """Places and batch by batch its typed rows. Raises DataError past a page that is damaged."""
    file, names = opened(source), columns(source)
    chosen = [name for name in names if wanted is None or name in wanted]
    at = 0
    try:
        for batch in _batches(file, names, chosen):
            yield batches.places(source.name, at, batch.num_rows), batch
            at += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path} cannot be read past row {at}: {error}", "write it anew") from None


def opened(source: SourceFile) -> pq.ParquetFile:
    """The file, opened. Raises DataError."""
    packed = source.path.suffix.lower() in COMPRESSIONS
    try:
        return pq.ParquetFile(pa.BufferReader(source.read()) if packed else source.path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path} is no readable Parquet file: {error}", "write it anew") from None


def _batches(file: pq.ParquetFile, names: list[str], chosen: list[str]) -> Iterator[pa.RecordBatch]:
    if names and len(chosen) == len(names):
        yield from file.iter_batches(CHUNK)
    elif chosen:
        yield from file.iter_batches(CHUNK, columns=chosen)
    else:  # nothing is wanted but the number of rows
        yield from (pa.RecordBatch.from_struct_array(pa.array([{}] * n, pa.struct([]))) for n in _sizes(file.metadata.num_rows))


def _sizes(rows: int) -> Iterator[int]:
    yield from (min(CHUNK, rows - at) for at in range(0, rows, CHUNK))
