"""Files of rows of any kind as tables of a query, such as the `metrics.parquet` of an audit; knows no run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ratoon import sql
from ratoon.rows.reading import Reading
from ratoon.rows.rows import open_rows
from ratoon.rows.table import table


class RowsFile:
    """What one name names is table `rows`; of several names each is a table, called as its file is. `readings` tell how."""

    def __init__(self, *names: str | Path) -> None:
        """Raises DataError for what is not there or cannot be read."""
        opened = [open_rows(name) for name in names]
        self.tables = dict(zip(_called(names), map(table, opened), strict=True))
        self.readings: dict[str, Reading] = dict(zip(self.tables, (rows.reading for rows in opened), strict=True))

    def render(self, query: str, format: str = "table") -> str | bytes:
        """One SELECT over the tables, as text: table, json, csv, or parquet bytes. Raises SqlError."""
        return sql.render(sql.over(self.tables, query, memory_limit="2GB"), format)


def _called(names: Sequence[str | Path]) -> list[str]:
    """`rows` for one; of several the stem of each, a number behind it where it comes again.

    >>> _called(["a/part-1.jsonl", "b/part-1.csv"])
    ['part_1', 'part_1_2']
    """
    if len(names) == 1:
        return ["rows"]
    called: list[str] = []
    for name in names:
        stem = re.sub(r"\W+", "_", Path(name).name.split(".")[0]).strip("_").lower() or "rows"
        stem = f"t_{stem}" if stem[0].isdigit() else stem
        same = sum(one == stem or one.startswith(f"{stem}_") for one in called)
        called.append(f"{stem}_{same + 1}" if same else stem)
    return called
