"""Drops rollouts that hold a benchmark's item, or whose task does; reads stored matches and compares no text.

The same-named tiers are measured by `metrics.contamination`: whole text, any long run of words, share of the item's words
covered. What similar embeddings suggest is for a person to look at and drops nothing here.
"""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import whole
from ratoon.config import Config
from ratoon.filters.filter import Side, Verdicts, coded

VERSION = "1"
NEEDS = ("rollout_id", "task_id")
SIDE = ("edges",)
_KIND = "contamination"
_REASONS = ("contaminated:exact", "contaminated:long", "contaminated:coverage")


class DecontaminateConfig(Config):
    """Keep rollouts that hold no item of a benchmark."""

    kind: Literal["decontaminate"] = Field("decontaminate", description="this filter")
    coverage: float = Field(0.5, gt=0, le=1, description="share of an item's words covered from which a text is contaminated")
    tiers: tuple[Literal["exact", "long", "coverage"], ...] = Field(
        ("exact", "long", "coverage"), description="which matches drop: the whole text, a long run of words, the share covered"
    )


def keep(rows: pa.Table, config: DecontaminateConfig, side: Side) -> Verdicts:
    """Drops for `contaminated:TIER`; the evidence is the item, the value the share of its words covered.

    A match of the task counts before one of the completion.
    """
    edges = side["edges"].filter(pc.equal(side["edges"]["kind"], _KIND))
    tiers = [json.loads(evidence or "{}").get("tier") for evidence in edges["evidence"].to_pylist()]
    shares = edges["similarity"].to_pylist()
    drops = [
        t in config.tiers and (t != "coverage" or share >= config.coverage) for t, share in zip(tiers, shares, strict=True)
    ]
    edges = edges.filter(pa.array(drops, pa.bool_()))
    code = np.array([_REASONS.index(f"contaminated:{tier}") for tier, yes in zip(tiers, drops, strict=True) if yes], np.int64)
    subjects = whole(edges["a_id"]).cast(pa.string())
    by_task, by_row = (pc.index_in(rows[name], value_set=subjects) for name in ("task_id", "rollout_id"))
    at = whole(pc.coalesce(by_task, by_row))
    edge = np.asarray(at.fill_null(-1)).astype(np.int64)
    codes = np.where(edge >= 0, np.append(code, -1)[edge], -1)
    return coded(
        codes, _REASONS, value=whole(edges["similarity"]).take(at), thresholds=[None, None, config.coverage],
        evidence_id=whole(edges["b_id"]).cast(pa.string()).take(at),
    )  # fmt: skip
