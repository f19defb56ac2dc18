"""A number that can be trusted: what it is, of how many, between which bounds, and by what it was made; and when two compare.

Two measures compare only with equal fingerprints: metric, version and every parameter that changes the number (sample size,
kernel, bandwidth, model, map). Nothing here computes a metric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ratoon import ids, schema
from ratoon.errors import Unlike
from ratoon.metrics.stats.calibration import difference
from ratoon.metrics.stats.estimators import Estimate


@dataclass(frozen=True)
class Measure:
    """One number. `params` are what must be equal to compare; `note` is anything else worth keeping."""

    metric: str
    version: str
    value: float | None
    n: int
    lo: float | None = None
    hi: float | None = None
    seed: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return ids.digest([self.metric, self.version, dict(self.params)])

    @property
    def estimate(self) -> Estimate | None:
        """The value with its interval, where it has one."""
        if self.value is None or self.lo is None or self.hi is None:
            return None
        return Estimate(self.value, self.lo, self.hi, self.n)


def of_estimate(
    metric: str, version: str, estimate: Estimate | None, params: Mapping[str, Any], seed: int | None = None
) -> list[Measure]:
    """The measure of an estimate; nothing for None: unknown is no row."""
    if estimate is None:
        return []
    return [Measure(metric, version, estimate.value, estimate.n, _known(estimate.lo), _known(estimate.hi), seed, params)]


def of_value(metric: str, version: str, value: float | None, n: int, params: Mapping[str, Any]) -> list[Measure]:
    """The measure of a number without an interval; nothing for None."""
    return [] if value is None or math.isnan(value) else [Measure(metric, version, float(value), n, params=params)]


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def compare(new: Measure, old: Measure) -> Estimate:
    """`new` - `old` with its interval by square-and-add: an interval that holds 0 says no detectable change.

    Raises Unlike on unlike fingerprints, or where a side is unknown or has no interval.
    """
    if new.fingerprint != old.fingerprint:
        raise Unlike(f"{_named(new)} and {_named(old)} were not made alike", _what_differs(new, old))
    a, b = new.estimate, old.estimate
    if a is None or b is None:
        raise Unlike(f"{new.metric} has no interval on one side", "compare the values by eye, or measure a larger sample")
    return difference(a, b)


def _named(one: Measure) -> str:
    return f"{one.metric} version {one.version} {ids.canonical_json(dict(one.params))}"


def _what_differs(a: Measure, b: Measure) -> str:
    names = [name for name in sorted({*a.params, *b.params}) if a.params.get(name) != b.params.get(name)]
    if names == ["size"]:
        return "measure both at one sample size: the smaller of the two"
    return f"measure both with one {', '.join(names) or 'version of the metric'}"


def table(measures: Iterable[Measure], scope_kind: str, scope_id: str, iteration: int | None) -> pa.Table:
    """Table `measures`."""
    rows = [
        {"scope_kind": scope_kind, "scope_id": scope_id, "iteration": iteration, "metric": m.metric, "version": m.version,
         "value": m.value, "lo": m.lo, "hi": m.hi, "n": m.n, "seed": m.seed, "fingerprint": m.fingerprint,
         "params": json.dumps({"params": dict(m.params), "note": dict(m.note)}, sort_keys=True, ensure_ascii=False)}
        for m in measures
    ]  # fmt: skip
    return schema.from_rows("measures", rows)


def read(rows: pa.Table) -> list[Measure]:
    """What `table` wrote, read back; rows that something else wrote (a verifier's rates) are passed over."""
    measures = []
    for row in rows.to_pylist():
        params = json.loads(row["params"] or "{}")
        if isinstance(params, dict) and "params" in params:
            measures.append(
                Measure(row["metric"], row["version"], row["value"], row["n"] or 0, row["lo"], row["hi"], row["seed"],
                        params["params"], params.get("note", {}))
            )  # fmt: skip
    return measures
