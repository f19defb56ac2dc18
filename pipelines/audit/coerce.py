"""Numbers of a stranger's file, and ids for rows that have none."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def twice(column: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(column).as_py() < len(column))


def row_ids(rows: pa.Table) -> list[str]:
    """A hash of each row's texts, equal ones numbered: the same in any order of rows."""
    seen: Counter[str] = Counter()
    out = []
    for own, prompt, completion, place in zip(
        *(rows[name].to_pylist() for name in ("row_id", "prompt", "completion", "place")), strict=True
    ):
        what = f"{own or ''}\x1f{prompt or ''}\x1f{completion or ''}" if prompt or completion else f"{own or ''}\x1f\x1f{place}"
        name = blake2b(what.encode(), digest_size=10).hexdigest()
        seen[name] += 1
        out.append(f"row_{name}" + (f"_{seen[name]}" if seen[name] > 1 else ""))
    return out


def task_ids(rows: pa.Table) -> pa.Array:
    """A hash of each prompt; the row's own id where it has none."""
    asked = rows["prompt"].combine_chunks().dictionary_encode()
    names = pa.array(
        [f"task_{blake2b(p.encode(), digest_size=10).hexdigest()}" for p in asked.dictionary.to_pylist()], pa.string()
    )
    found = names.take(asked.indices) if len(names) else pa.nulls(rows.num_rows, pa.string())
    return pc.coalesce(found, rows["row_id"].combine_chunks())


def number(value: Any, whole: bool) -> Any:
    """A finite number, null for all else."""
    if value is None or isinstance(value, list | dict):
        return None
    try:
        as_float = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not np.isfinite(as_float):
        return None
    return int(as_float) if whole else as_float
