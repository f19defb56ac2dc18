"""What a filter says of each row, and what a filter is; knows no filter.

A filter never raises on a row: a row it cannot judge is dropped with a reason that says so, or kept where keeping is the
point (two unknown texts are no duplicates).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.columns import Column, whole
from ratoon.config import Config

Functions = Mapping[str, Callable[..., Any]]
# Beside the candidates, by the names filters ask for: tables, and `vectors`, a function from ids to unit rows `[n, d]`.
Side = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One entry per row, in row order; `reason` is null exactly where `keep` is true, the rest null where unknown."""

    keep: np.ndarray
    reason: pa.Array
    value: pa.Array | None = None
    threshold: pa.Array | None = None
    evidence_id: pa.Array | None = None


class Filter(NamedTuple):
    """A catalogue entry: its config, `keep(rows, config) -> Verdicts`, its version, the columns it reads.

    A filter with `side` reads those tables beside the rows: `keep(rows, config, side)`. `by` is the field of its config that
    names one more column it reads; `stored` are columns that, where they are there, spare it the text.
    """

    config: type[Config]
    keep: Callable[..., Verdicts]
    version: str
    needs: tuple[str, ...]
    side: tuple[str, ...] = ()
    by: str | None = None
    stored: tuple[str, ...] = ()

    def columns(self, config: Config, there: Collection[str] = ()) -> set[str]:
        """Every column it reads under this config, where the candidates have those that are `there`."""
        needs = {*self.needs, *([getattr(config, self.by)] if self.by else [])}
        return needs - {"text"} | {*self.stored} if self.stored and {*self.stored} <= {*there} else needs


def coded(
    codes: np.ndarray,
    reasons: Sequence[str],
    *,
    value: pa.Array | None = None,
    thresholds: Sequence[float | None] | None = None,
    evidence_id: pa.Array | None = None,
) -> Verdicts:
    """Verdicts from one code per row: -1 keeps, i drops for `reasons[i]` against `thresholds[i]`."""
    keep = codes < 0
    picks = pa.array(codes, pa.int32(), mask=keep)
    threshold = None if thresholds is None else pa.array(thresholds, pa.float64()).take(picks)
    return Verdicts(keep, pa.array(reasons, pa.string()).take(picks), value, threshold, evidence_id)


def ascends(ids: pa.Array) -> bool:
    """Whether each is above the one before: far quicker to see than to sort."""
    return len(ids) < 2 or bool(pc.all(pc.less(ids[:-1], ids[1:])).as_py())


def ranks(column: Column) -> np.ndarray:
    """The place of each row by id; equal ids in row order."""
    ids = whole(column)
    return np.arange(len(ids)) if ascends(ids) else np.asarray(pc.rank(ids, tiebreaker="first")) - 1
