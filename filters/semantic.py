"""Keeps one rollout of each cluster of texts that mean the same to an embedding model; reads stored edges, runs no model.

The cut of .9 fits MiniLM on short English texts: cosines of unlike texts have their 99.9th percentile near .5, true copies
lie above .95. Another model needs another cut: look at a sample of its edges first.
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


class SemanticFilterConfig(Config):
    """Keep one rollout of each cluster of like vectors."""

    kind: Literal["semantic"] = Field("semantic", description="this filter")
    threshold: float = Field(0.9, gt=0, le=1, description="cosine from which two texts are one")
    rank_by: str = Field("value", description="the column whose highest stays in a cluster; the smallest id among equals")


def keep(rows: pa.Table, config: SemanticFilterConfig, side: Side) -> Verdicts:
    """Drops for `semantic_duplicate`, or `semantic_duplicate:past` where an earlier round's dataset holds the like of it."""
    return keep_best(rows, side, "semantic", None, config.threshold, config.rank_by, "semantic_duplicate")
