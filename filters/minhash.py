"""Keeps one rollout of each cluster of near-duplicate texts; reads stored edges and compares no text.

Clusters are joined by edges whose true Jaccard was measured (`metrics.near`), never by a shared bucket alone. The best
stays, not the first: highest score, then smallest id.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from ratoon.config import Config
from ratoon.filters.components import keep_best
from ratoon.filters.filter import Side, Verdicts

VERSION = "1"
NEEDS = ("rollout_id",)
SIDE = ("edges", "past")


class MinHashFilterConfig(Config):
    """Keep one rollout of each cluster of near-duplicates."""

    kind: Literal["minhash"] = Field("minhash", description="this filter")
    threshold: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Jaccard of shingles from which two texts are one; below `floor` of the edges none is known",
    )
    rank_by: str = Field("value", description="the column whose highest stays in a cluster; the smallest id among equals")


def keep(rows: pa.Table, config: MinHashFilterConfig, side: Side) -> Verdicts:
    """Drops for `near_duplicate`, or `near_duplicate:past` where an earlier round's dataset holds the like of it."""
    return keep_best(rows, side, "minhash", None, config.threshold, config.rank_by, "near_duplicate")
