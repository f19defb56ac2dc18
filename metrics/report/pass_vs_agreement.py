"""Pass rate crossed with agreement, a group once each: and the corner where all agree on what the verifier refuses."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.report import Bin, Corner, Passes

BINS, AGREED = 10, 5
MOST = 50


def groups(rows: pa.Table) -> pa.Table:
    """One row for each task with a pass rate: its first row in id order, with the group's size."""
    known = rows.filter(pc.is_valid(rows["pass_rate"])).sort_by("row_id")
    names = ["row_id", "prompt", "gold", "vote", "vote_share", "pass_rate", "group_n"]
    firsts = known.group_by("task_id", use_threads=False).aggregate([(name, "first") for name in names])
    return firsts.rename_columns([name.removesuffix("_first") for name in firsts.column_names])


def in_corner(table: pa.Table, share: float, least: int) -> NDArray[np.bool_]:
    """Groups (or rows of groups) that nothing passed though at least `share` of `least` or more replies agree."""
    agreed, n = numbers(table["vote_share"]), numbers(table["group_n"])
    with np.errstate(invalid="ignore"):
        return np.asarray((numbers(table["pass_rate"]) == 0) & (agreed >= share) & (n >= least))


def passes(rows: pa.Table, share: float, least: int) -> Passes | None:
    """The histogram and the corner, surest first; None where no group has a pass rate."""
    table = groups(rows)
    if not table.num_rows:
        return None
    rate, agreed = numbers(table["pass_rate"]), numbers(table["vote_share"])
    at = np.minimum((rate * BINS).astype(int), BINS - 1)
    with np.errstate(invalid="ignore"):
        by = np.where(np.isnan(agreed), -1, np.minimum(np.nan_to_num(agreed) * AGREED, AGREED - 1).astype(int))
    bins: list[Bin] = []
    for i in range(BINS):
        for j in np.unique(by):
            if count := int(((at == i) & (by == j)).sum()):
                bins.append({"lo": i / BINS, "hi": (i + 1) / BINS, "groups": count, "consensus_bin": None if j < 0 else int(j)})
    return {"bins": bins, "corner": _corner(table.filter(pa.array(in_corner(table, share, least))))}


def _corner(table: pa.Table) -> list[Corner]:
    found = table.sort_by([("vote_share", "descending"), ("task_id", "ascending")]).slice(0, MOST).to_pylist()
    return [
        {"task_id": r["task_id"], "prompt": r["prompt"] or "", "gold": r["gold"], "consensus": r["vote"],
         "share": r["vote_share"], "pass_rate": r["pass_rate"], "n": r["group_n"]}
        for r in found
    ]  # fmt: skip
