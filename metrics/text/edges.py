"""Table `edges` from pairs of rows, whoever found them; knows no similarity."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon import schema


def edge_rows(kind: str, ids: pa.Array, a: NDArray, b: NDArray, similarity: NDArray, version: str) -> pa.Table:
    """One row per pair of places `a`, `b` in `ids`, the smaller id first, in id order: the order of rows does not show."""
    left, right = ids.take(pa.array(a)), ids.take(pa.array(b))
    ordered = pc.less(left, right)
    columns = {
        "kind": pa.repeat(kind, len(a)),
        "a_id": pc.if_else(ordered, left, right),
        "b_id": pc.if_else(ordered, right, left),
        "similarity": pa.array(similarity),
        "version": pa.repeat(version, len(a)),
    }
    return schema.from_columns("edges", columns, len(a)).sort_by([("a_id", "ascending"), ("b_id", "ascending")])
