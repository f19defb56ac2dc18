"""Tables to Parquet parts and back; knows the schemas and one part at a time, no commit log.

zstd 3, row groups of 64k, page checksums verified on every read. A part that is not what its manifest says is refused by
name: nothing here repairs or skips.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon import schema
from ratoon.errors import CorruptPart, DataError
from ratoon.store.manifest import Part

if TYPE_CHECKING:
    import pyarrow.dataset as ds

ROW_GROUP = 65_536
ROWS_PER_PART = 16 * ROW_GROUP
_ENCODED_AT_ONCE = 2
HINT = "run `ratoon verify RUN` for all that is damaged; restore the file from a copy, or make its stage again in a new run"


def conform(name: str, table: pa.Table) -> pa.Table:
    """`table` in the pinned columns and types of `name`. Raises DataError on an unknown table, column or type."""
    pinned = schema_of(name)
    if table.schema.equals(pinned):
        return table.replace_schema_metadata(pinned.metadata)
    if set(table.column_names) != set(pinned.names) or len(table.column_names) != len(pinned.names):
        odd = sorted(set(table.column_names) ^ set(pinned.names))
        raise DataError(f"table {name!r}: columns {odd} are missing, unknown or doubled", f"its columns are {pinned.names}")
    try:
        return table.select(pinned.names).cast(pinned)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"table {name!r} has other types than its schema: {error}", "see ratoon/schema.py") from error


def schema_of(name: str) -> pa.Schema:
    """The schema of table `name`. Raises DataError that offers the nearest name."""
    if name not in schema.TABLES:
        near = difflib.get_close_matches(name, schema.TABLES, n=1)
        raise DataError(
            f"no table {name!r}", f"did you mean {near[0]!r}?" if near else f"the tables are {sorted(schema.TABLES)}"
        )
    return schema.TABLES[name]


def encode(name: str, table: pa.Table, folder: str) -> Iterator[tuple[Part, pa.Buffer]]:
    """The parts of one table with their bytes, two made at a time; no part for no rows."""

    def made(number: int) -> tuple[Part, pa.Buffer]:
        rows = table.slice(number * ROWS_PER_PART, ROWS_PER_PART)
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd", compression_level=3, row_group_size=ROW_GROUP, write_page_checksum=True)
        data = sink.getvalue()
        return Part(name, f"{folder}/{name}-{number:03d}.parquet", rows.num_rows, data.size, sha256(data).hexdigest()), data

    numbers = range(-(-table.num_rows // ROWS_PER_PART))
    with ThreadPoolExecutor(_ENCODED_AT_ONCE) as pool:
        for start in numbers[::_ENCODED_AT_ONCE]:
            yield from pool.map(made, numbers[start : start + _ENCODED_AT_ONCE])


def check_size(root: Path, part: Part) -> None:
    """Raise CorruptPart unless the file is there and as long as its manifest says."""
    path = root / part.path
    if path.is_symlink() or path.parent.is_symlink():
        raise CorruptPart(f"part {path} is a link, not the file that was written", HINT)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CorruptPart(f"cannot read part {path}: {error.strerror}", HINT) from None
    if size != part.bytes:
        raise CorruptPart(f"part {path} holds {size} bytes, its manifest says {part.bytes}", HINT)


def projected(name: str, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of those columns of a table, in that order; None means all. Raises DataError."""
    pinned = schema_of(name)
    for column in columns or ():
        if column not in pinned.names:
            raise DataError(f"table {name!r} has no column {column!r}", f"its columns are {pinned.names}")
    return pinned if columns is None else pa.schema([pinned.field(c) for c in columns], metadata=pinned.metadata)


def batches(root: Path, part: Part, projection: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a part in the columns of `wanted`, a row group at a time. Raises CorruptPart.

    A column or a field of a message that the table got after the part was written is null; keys never are.
    """
    check_size(root, part)
    path, rows = root / part.path, 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            added = set(projection.names) - set(file.schema_arrow.names) - set(schema.KEYS[part.table])
            stored = [name for name in projection.names if name not in added]
            for batch in file.iter_batches(ROW_GROUP, columns=stored, use_threads=False):
                rows += batch.num_rows
                columns = [
                    pa.nulls(batch.num_rows, f.type) if f.name in added else _widened(batch.column(f.name), f.type)
                    for f in projection
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=projection)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CorruptPart(f"part {path} is damaged: {error}", HINT) from error
    if rows != part.rows:
        raise CorruptPart(f"part {path} holds {rows} rows, its manifest says {part.rows}", HINT)


def _widened(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Messages with every field of the schema, null where the part has none; another column as it is."""
    return column.cast(kind) if kind == schema.MESSAGES else column


def problem(root: Path, part: Part) -> str | None:
    """What is wrong with the file of a part, byte for byte; None when nothing is."""
    path = root / part.path
    try:
        check_size(root, part)
        with path.open("rb") as file:
            state = sha256()
            while block := file.read(1 << 20):
                state.update(block)
    except CorruptPart as error:
        return error.message
    except OSError as error:
        return f"cannot read part {path}: {error.strerror}"
    return None if state.hexdigest() == part.sha256 else f"part {path} has other bytes than were written"


def dataset(name: str, root: Path, parts: Sequence[Part]) -> ds.Dataset:
    """Parts of one table as an Arrow dataset that verifies page checksums. Raises CorruptPart on a missing or cut file."""
    for part in parts:
        check_size(root, part)
    import pyarrow.dataset as ds  # it brings pandas: only who asks SQL pays for that

    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=options)
    return ds.dataset([str(root / part.path) for part in parts], schema=schema_of(name), format=form)
