"""What an audit reads, samples and warns of: the recipe's `[audit]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratoon.config import Config, operational
from ratoon.metrics.report.warnings import LimitsConfig
from ratoon.metrics.tiers import TierConfig


class AuditConfig(Config):
    """How much `ratoon audit` looks at, and the limits of its warnings."""

    tier: Literal["cheap", "medium"] = Field("medium", description="cheap needs no model; medium embeds a sample")
    at_end: Literal["off", "cheap", "medium"] = operational("medium", description="tier of the audits that a run ends with")
    seed: int = Field(0, ge=0, description="seed of every sample")
    rows: int = Field(1_000_000, ge=1, description="rows read at most of each side: whole tasks chosen by hash; all if fewer")
    sample: int = Field(5_000, ge=2, description="rows embedded of each side, whole tasks chosen by hash")
    prompts: int = Field(1_000, ge=2, description="prompts embedded of each side")
    pairs: int = Field(20_000, ge=2, description="rows of each side among which near-duplicates are looked for")
    matched: int = Field(100_000, ge=1, description="rows compared with evaluation sets at most")
    clusters: int = Field(100, ge=1, description="regions of the map at most: one for every 20 rows of the older side")
    draws: int = Field(20, ge=2, description="subsamples behind each interval of a diversity")
    benchmarks: tuple[str, ...] = Field((), description="evaluation sets: files, folders or Hugging Face ids")
    limits: LimitsConfig = Field(LimitsConfig(), description="beyond what it warns")
    measure: TierConfig = Field(TierConfig(), description="kernel, embedding model and cut of texts")
