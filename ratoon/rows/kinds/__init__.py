"""How files become rows: one kind of file, one module with `columns` and `chunks`."""

from __future__ import annotations

from ratoon.rows.kinds import arrow, csv, json, parquet, text

# Each has `columns(source) -> names` and `chunks(source, wanted, note) -> chunks of rows`, of which only columns `wanted`
# must be there; `note` takes a sentence on how the file was decoded.
READERS = {"parquet": parquet, "arrow": arrow, "json": json, "csv": csv, "text": text}
# Those whose columns have types; each has `tables(source) -> places and batch` too.
TYPED = {"parquet": parquet, "arrow": arrow}
