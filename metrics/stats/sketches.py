"""Sums that merge exactly: what a shard keeps of its rows so that any union of shards is scored without reading them again.

A sketch is a name, how many values stand behind it and some numbers; its kind is the name's first part:

    mean.X    Σx, Σ(s²), Σ(s·m), Σ(m²), clusters, over clusters (tasks) with sum s of m values: a mean, its interval by cluster
    hist.X    counts by bin of 4·log2(1 + x), 80 bins
    kmv.X     the smallest hashes of unlike items, as shares of 2^52 (Bar-Yossef et al., 2002): how many unlike items there are
    gram.X    the packed sum of x xᵀ (`spectrum.Gram`)

A cluster must lie inside one shard: two halves of it count as two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import Estimate, wilson, within

VERSION = "1"
BINS = 80
KEPT = 512
Floats = NDArray[np.float64]


class Sketch(NamedTuple):
    """A name, how many values are behind it, and the numbers that merge. `fingerprint` is of what made the values."""

    name: str
    n: int
    values: Floats
    fingerprint: str = ""

    @property
    def kind(self) -> str:
        return self.name.partition(".")[0]


def mean_of(name: str, values: NDArray[Any], clusters: NDArray[np.int64]) -> Sketch:
    """The sums of a column (NaN is unknown) whose rows belong to numbered clusters."""
    known = ~np.isnan(values)
    some, at = values[known].astype(np.float64), clusters[known]
    if not len(some):
        return Sketch(f"mean.{name}", 0, np.zeros(5))
    sums, sizes = np.bincount(at, some), np.bincount(at).astype(np.float64)
    there = sizes > 0
    sums, sizes = sums[there], sizes[there]
    moments = [some.sum(), (sums**2).sum(), (sums * sizes).sum(), (sizes**2).sum(), len(sums)]
    return Sketch(f"mean.{name}", len(some), np.array(moments, np.float64))


def histogram(name: str, values: NDArray[Any]) -> Sketch:
    """Counts of a column's known values by bin; what is negative falls into the first."""
    known = values[~np.isnan(values)].astype(np.float64)
    at = np.minimum((4 * np.log2(1 + np.maximum(known, 0))).astype(np.int64), BINS - 1)
    return Sketch(f"hist.{name}", len(known), np.bincount(at, minlength=BINS).astype(np.float64))


def distinct(name: str, hashes: NDArray[np.uint64], fingerprint: str = "") -> Sketch:
    """The smallest hashes of a set's items, repeats allowed; hashes must be well mixed."""
    top = hashes >> np.uint64(12)
    if len(top) > 8 * KEPT:  # a first cut, so that few are sorted
        bound = np.partition(top[:: max(1, len(top) // (8 * KEPT))], KEPT // 8)[KEPT // 8]
        few = np.unique(top[top <= bound])
        top = few if len(few) >= KEPT else top
    return Sketch(f"kmv.{name}", len(hashes), np.unique(top)[:KEPT].astype(np.float64), fingerprint)


def merge(sketches: Iterable[Sketch]) -> list[Sketch]:
    """One sketch per name over disjoint sets of rows, in name order. Raises DataError on unlike fingerprints or lengths."""
    by_name: dict[str, list[Sketch]] = {}
    for sketch in sketches:
        by_name.setdefault(sketch.name, []).append(sketch)
    return [_merged(parts) for _, parts in sorted(by_name.items())]


def _merged(parts: Sequence[Sketch]) -> Sketch:
    first = parts[0]
    prints = {part.fingerprint for part in parts if part.n}
    if len(prints) > 1:
        raise DataError(f"{first.name}: sketches of unlike make {sorted(prints)} have no union", "measure with one version")
    n, print_ = sum(part.n for part in parts), next(iter(prints), first.fingerprint)
    if first.kind == "kmv":
        return Sketch(first.name, n, np.unique(np.concatenate([part.values for part in parts]))[:KEPT], print_)
    if len({len(part.values) for part in parts if part.n}) > 1:
        raise DataError(f"{first.name}: sketches of unlike length have no union", "measure both with one version")
    whole = [part.values for part in parts if part.n] or [first.values]
    return Sketch(first.name, n, np.sum(whole, axis=0), print_)


def mean(sketch: Sketch, rate: bool = False, low: float = -math.inf, high: float = math.inf) -> Estimate | None:
    """The mean with its interval over clusters, which stays where the number can be; None of nothing.

    `n` is the number of values. `rate`: shares of yes within [0, 1], of which all may be alike.
    """
    if not sketch.n:
        return None
    total, squares, crossed, sizes, clusters = (float(v) for v in sketch.values)
    value = total / sketch.n
    spread = max(0.0, squares - 2 * value * crossed + value**2 * sizes)
    slack = 1.96 * math.sqrt(spread * (clusters / max(clusters - 1, 1))) / sketch.n
    if rate and spread <= 1e-9 * sketch.n and value in (0.0, 1.0):
        lo, hi = wilson(round(value * clusters), int(clusters))
        return Estimate(value, lo, hi, sketch.n)
    lo, hi = within(value, slack, low, high)
    if clusters < 2:
        lo, hi = (0.0, 1.0) if rate else (math.nan, math.nan)
    return Estimate(value, max(lo, 0.0) if rate else lo, min(hi, 1.0) if rate else hi, sketch.n)


def unlike(sketch: Sketch) -> float:
    """The number of distinct items: exact below `KEPT`, estimated beyond with a standard error of 1 / √KEPT (4 %)."""
    if len(sketch.values) < KEPT:
        return float(len(sketch.values))
    return (KEPT - 1) / (float(sketch.values[-1]) / 2**52)


def quantile(sketch: Sketch, q: float) -> float | None:
    """A quantile of a histogram, linear inside its bin (a bin is 19 % wide); None of nothing."""
    if not sketch.n:
        return None
    upto = np.cumsum(sketch.values)
    at = int(np.searchsorted(upto, q * upto[-1]))
    at = min(at, BINS - 1)
    below = upto[at - 1] if at else 0.0
    inside = (q * upto[-1] - below) / sketch.values[at] if sketch.values[at] else 0.0
    return float(2 ** ((at + inside) / 4) - 1)


def table(sketches: Iterable[Sketch], scope_kind: str, scope_id: str, iteration: int | None) -> pa.Table:
    """Table `sketches`."""
    rows = [
        {"scope_kind": scope_kind, "scope_id": scope_id, "iteration": iteration, "name": s.name, "version": VERSION,
         "fingerprint": s.fingerprint, "n": s.n, "values": s.values.tolist()}
        for s in sketches
    ]  # fmt: skip
    return schema.from_rows("sketches", rows)


def read(rows: pa.Table) -> list[Sketch]:
    """What `table` wrote, read back; merge it to score the union. Raises DataError on another version's."""
    if odd := {v for v in rows["version"].to_pylist() if v != VERSION}:
        raise DataError(f"sketches of version {sorted(odd)}, this ratoon reads {VERSION}", "run the stage again")
    return [Sketch(r["name"], r["n"], np.asarray(r["values"], np.float64), r["fingerprint"] or "") for r in rows.to_pylist()]
