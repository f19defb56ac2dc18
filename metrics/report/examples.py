"""Rows to read: the best, the worst, some at random and the ones that were nearly decided otherwise."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.report import Examples

_BY = ("reward", "pass_rate", "passed", "vote_share")


def examples(rows: pa.Table, k: int, seed: int) -> Examples:
    """At most `k` ids of each kind; best and worst by the first of reward, pass rate, verdict, agreement that varies.

    Borderline are those nearest the middle of that number's range; equals are ordered by a hash of seed and id.
    """
    ids = rows["row_id"].to_pylist()
    rank = np.argsort(np.array([blake2b(f"{seed}/{i}".encode(), digest_size=8).digest() for i in ids], "S8"), kind="stable")
    shuffled = [ids[i] for i in rank]
    found: Examples = {"best": [], "worst": [], "random": shuffled[:k], "borderline": [], "by": None}
    for name in _BY:
        value = numbers(rows[name])[rank]
        known = np.flatnonzero(np.isfinite(value))
        if len(known) > 1 and np.ptp(value[known]) > 0:
            picks = _picked(value, known, k)
            return {**found, **{name: [shuffled[i] for i in at] for name, at in picks.items()}, "by": name}  # type: ignore[typeddict-item]
    return found


def _picked(value: NDArray[np.float64], known: NDArray[np.int64], k: int) -> dict[str, NDArray[np.int64]]:
    some = value[known]
    order = known[np.argsort(-some, kind="stable")]
    k = min(k, max(1, len(known) // 2))
    middle = (some.min() + some.max()) / 2
    near = known[np.argsort(np.abs(some - middle), kind="stable")][:k]
    inside = near[(value[near] < some.max()) & (value[near] > some.min())]
    return {"best": order[:k], "worst": order[::-1][:k], "borderline": inside}
