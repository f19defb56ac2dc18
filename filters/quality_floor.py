"""Drops the worst of each stratum by rank; knows no score's scale, so any will do: verified value, judge, reward.

Ranks are taken inside a stratum (a kind of task), so that hard kinds are not emptied for the sake of easy ones. Equals share a
fate: none goes unless all of them lie below the cut, so a score that does not vary drops nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import codes_of, numbers
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("rollout_id", "family", "level", "task_id")
Stratum = Literal["family", "level", "task_id", "all"]


class QualityFloorConfig(Config):
    """Drop the lowest share of each stratum."""

    kind: Literal["quality_floor"] = Field("quality_floor", description="this filter")
    share: float = Field(0.2, ge=0, lt=1, description="share of a stratum's rows, from the lowest, that goes")
    by: str = Field("value", description="the column ranked by; a row without a value stays")
    stratum: Stratum = Field("family", description="ranks are taken among rows of equal family, level or task, or among all")


def keep(rows: pa.Table, config: QualityFloorConfig) -> Verdicts:
    """Drops for `quality_floor`; the value is the score, the threshold the least score that stays in its stratum."""
    score = numbers(rows[config.by])
    group = np.zeros(rows.num_rows, np.int64) if config.stratum == "all" else codes_of(rows[config.stratum])
    known = np.flatnonzero(~np.isnan(score))
    order = known[np.lexsort((score[known], group[known]))]
    starts = np.flatnonzero(np.diff(group[order], prepend=-2))
    sizes = np.diff(np.append(starts, len(order)))
    # The first row that is above the share: everything strictly below its score goes.
    least = (
        np.repeat(score[order][starts + np.floor(config.share * sizes).astype(np.int64)], sizes) if len(order) else score[:0]
    )
    floor = np.full(rows.num_rows, -np.inf)
    floor[order] = least
    lost = score < floor
    verdicts = coded(np.where(lost, 0, -1), ["quality_floor"], value=pa.array(score, mask=np.isnan(score)))
    return Verdicts(verdicts.keep, verdicts.reason, verdicts.value, pa.array(floor, mask=~lost))
