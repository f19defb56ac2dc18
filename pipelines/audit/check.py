"""One check of a side's rows: flags of each row, numbers of all, and what it could not tell. Knows no run and no report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.qdc import tiers
from ratoon.metrics.report import NotComputed
from ratoon.metrics.report.frame import text_of
from ratoon.metrics.stats.calibration import rate
from ratoon.metrics.stats.measures import Measure

VERSION = "1"


class Check(NamedTuple):
    """Columns of flags by name (a value a row, null where it is not known), numbers, and what was not computed and why."""

    flags: Mapping[str, Any] = {}
    numbers: Sequence[Measure] = ()
    gaps: Sequence[NotComputed] = ()


def joined(checks: Iterable[Check]) -> Check:
    """All of them as one: columns in order, a later one of the same name in place of the earlier."""
    flags: dict[str, Any] = {}
    measures: list[Measure] = []
    gaps: list[NotComputed] = []
    for check in checks:
        flags |= check.flags
        measures += check.numbers
        gaps += check.gaps
    return Check(flags, measures, gaps)


def by_name(measures: Iterable[Measure]) -> dict[str, Measure]:
    """The numbers by metric; the last of a name counts."""
    return {measure.metric: measure for measure in measures}


def gap(what: str, why: str, mend: str) -> NotComputed:
    """What was not computed, why not, and what mends it."""
    return {"what": what, "why": why, "mend": mend}


def share(metric: str, flags: Any, unit: str = "rows", said: str = "") -> list[Measure]:
    """The share of rows that have a flag among those whose flag is known; empty where none is known."""
    column = flags if isinstance(flags, np.ndarray) else numbers(flags)
    known = column[~np.isnan(column.astype(float))]
    if not len(known):
        return []
    estimate = rate(int(known.sum()), len(known))
    note = {"unit": unit, "said": said}
    return [
        Measure(
            metric,
            VERSION,
            estimate.value,
            estimate.n,
            estimate.lo,
            estimate.hi,
            params={"unit": unit},
            note=note,
        )
    ]


def sampled_rows(rows: pa.Table, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of about `most` rows with a text: whole tasks, by hash."""
    inside = tiers.sample_of(rows["task_id"], most, seed)
    there = np.flatnonzero(inside & ~np.asarray(pc.is_null(text_of(rows))))
    return there[:most] if len(there) > 2 * most else there


def flags_at(at: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """A column of n flags: 0 (false) at the positions `at`, NaN (unknown) elsewhere."""
    flags = np.full(n, np.nan)
    flags[at] = 0
    return flags
