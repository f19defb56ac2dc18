"""Makes decisions: turns numbers into keep or drop with a reason; computes no number and runs no model.

Adding a filter: its file (a frozen config, `keep`), one line here, its test. A user's own filter is kind `entry`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ratoon.filters import (
    best_of,
    cap_per_task,
    consensus,
    decontaminate,
    dpp,
    exact_dedup,
    finish_reason,
    length,
    length_band,
    lint,
    minhash,
    mixed_group,
    noise_words,
    pass_rate,
    quality_floor,
    random_n,
    semantic,
    verified,
)
from ratoon.filters.best_of import BestOfConfig
from ratoon.filters.cap_per_task import CapPerTaskConfig
from ratoon.filters.consensus import ConsensusConfig
from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.filters.dpp import DppConfig
from ratoon.filters.entry import EntryConfig
from ratoon.filters.exact_dedup import ExactDedupConfig
from ratoon.filters.filter import Filter, Verdicts
from ratoon.filters.finish_reason import FinishReasonConfig
from ratoon.filters.length import LengthConfig
from ratoon.filters.length_band import LengthBandConfig
from ratoon.filters.lint import LintConfig
from ratoon.filters.minhash import MinHashFilterConfig
from ratoon.filters.mixed_group import MixedGroupConfig
from ratoon.filters.noise_words import NoiseWordsConfig
from ratoon.filters.pass_rate import PassRateConfig
from ratoon.filters.quality_floor import QualityFloorConfig
from ratoon.filters.random_n import RandomNConfig
from ratoon.filters.semantic import SemanticFilterConfig
from ratoon.filters.verified import VerifiedConfig

FILTERS: dict[str, Filter] = {
    "finish_reason": Filter(FinishReasonConfig, finish_reason.keep, finish_reason.VERSION, finish_reason.NEEDS),
    "lint": Filter(LintConfig, lint.keep, lint.VERSION, lint.NEEDS, lint.SIDE),
    "length": Filter(LengthConfig, length.keep, length.VERSION, length.NEEDS),
    "length_band": Filter(LengthBandConfig, length_band.keep, length_band.VERSION, length_band.NEEDS),
    "noise_words": Filter(NoiseWordsConfig, noise_words.keep, noise_words.VERSION, noise_words.NEEDS),
    "verified": Filter(VerifiedConfig, verified.keep, verified.VERSION, verified.NEEDS),
    "pass_rate": Filter(PassRateConfig, pass_rate.keep, pass_rate.VERSION, pass_rate.NEEDS),
    "mixed_group": Filter(MixedGroupConfig, mixed_group.keep, mixed_group.VERSION, mixed_group.NEEDS),
    "exact_dedup": Filter(
        ExactDedupConfig, exact_dedup.keep, exact_dedup.VERSION, exact_dedup.NEEDS, stored=exact_dedup.STORED
    ),
    "decontaminate": Filter(
        DecontaminateConfig, decontaminate.keep, decontaminate.VERSION, decontaminate.NEEDS, decontaminate.SIDE
    ),
    "consensus": Filter(ConsensusConfig, consensus.keep, consensus.VERSION, consensus.NEEDS),
    "minhash": Filter(MinHashFilterConfig, minhash.keep, minhash.VERSION, minhash.NEEDS, minhash.SIDE, "rank_by"),
    "semantic": Filter(SemanticFilterConfig, semantic.keep, semantic.VERSION, semantic.NEEDS, semantic.SIDE, "rank_by"),
    "quality_floor": Filter(QualityFloorConfig, quality_floor.keep, quality_floor.VERSION, quality_floor.NEEDS, by="by"),
    "dpp": Filter(DppConfig, dpp.keep, dpp.VERSION, dpp.NEEDS, dpp.SIDE, "by"),
    "cap_per_task": Filter(CapPerTaskConfig, cap_per_task.keep, cap_per_task.VERSION, cap_per_task.NEEDS),
    "best_of": Filter(BestOfConfig, best_of.keep, best_of.VERSION, best_of.NEEDS),
    "random_n": Filter(RandomNConfig, random_n.keep, random_n.VERSION, random_n.NEEDS),
}

FilterConfig = Annotated[
    FinishReasonConfig
    | LintConfig
    | LengthConfig
    | LengthBandConfig
    | NoiseWordsConfig
    | VerifiedConfig
    | PassRateConfig
    | MixedGroupConfig
    | ExactDedupConfig
    | DecontaminateConfig
    | ConsensusConfig
    | MinHashFilterConfig
    | SemanticFilterConfig
    | QualityFloorConfig
    | DppConfig
    | CapPerTaskConfig
    | RandomNConfig
    | BestOfConfig
    | EntryConfig,
    Field(discriminator="kind"),
]

__all__ = ["FILTERS", "Filter", "FilterConfig", "Verdicts"]
