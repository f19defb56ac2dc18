"""One Parquet file as table `rows` of a query, such as the `metrics.parquet` of an audit; knows no run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon import sql
from ratoon.errors import DataError


class RowsFile:
    """A Parquet file, opened for reading."""

    def __init__(self, path: str | Path) -> None:
        """Raises DataError when it is no readable Parquet file."""
        self.path = Path(path)
        try:
            pq.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is no readable Parquet file: {error}", "give a run's folder, or a Parquet file such as metrics.parquet"
            ) from None

    def render(self, query: str, format: str = "table") -> str | bytes:
        """One SELECT over table `rows`, as text: table, json, csv, or parquet bytes. Raises SqlError."""
        sql.check(query)
        try:
            rows = pq.read_table(self.path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path} cannot be read: {error}", "write it anew") from None
        return sql.render(sql.over({"rows": rows}, query, memory_limit="2GB"), format)
