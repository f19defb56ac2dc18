"""Makes decisions: turns numbers into keep or drop with a reason; computes no number and runs no model.

Adding a filter: its file (a frozen config, `keep`), one line here, its test. A user's own filter is kind `entry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ratoon.config import one_of
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
    weak_tests,
)
from ratoon.filters.entry import EntryConfig
from ratoon.filters.filter import Filter, Verdicts

FILTERS: dict[str, Filter] = {
    "finish_reason": Filter(finish_reason.FinishReasonConfig, finish_reason.keep, finish_reason.VERSION, finish_reason.NEEDS),
    "lint": Filter(lint.LintConfig, lint.keep, lint.VERSION, lint.NEEDS, lint.SIDE),
    "length": Filter(length.LengthConfig, length.keep, length.VERSION, length.NEEDS),
    "length_band": Filter(length_band.LengthBandConfig, length_band.keep, length_band.VERSION, length_band.NEEDS),
    "noise_words": Filter(noise_words.NoiseWordsConfig, noise_words.keep, noise_words.VERSION, noise_words.NEEDS),
    "verified": Filter(verified.VerifiedConfig, verified.keep, verified.VERSION, verified.NEEDS),
    "weak_tests": Filter(weak_tests.WeakTestsConfig, weak_tests.keep, weak_tests.VERSION, weak_tests.NEEDS),
    "pass_rate": Filter(pass_rate.PassRateConfig, pass_rate.keep, pass_rate.VERSION, pass_rate.NEEDS),
    "mixed_group": Filter(mixed_group.MixedGroupConfig, mixed_group.keep, mixed_group.VERSION, mixed_group.NEEDS),
    "exact_dedup": Filter(
        exact_dedup.ExactDedupConfig, exact_dedup.keep, exact_dedup.VERSION, exact_dedup.NEEDS, stored=exact_dedup.STORED
    ),
    "decontaminate": Filter(
        decontaminate.DecontaminateConfig, decontaminate.keep, decontaminate.VERSION, decontaminate.NEEDS, decontaminate.SIDE
    ),
    "consensus": Filter(consensus.ConsensusConfig, consensus.keep, consensus.VERSION, consensus.NEEDS),
    "minhash": Filter(minhash.MinHashFilterConfig, minhash.keep, minhash.VERSION, minhash.NEEDS, minhash.SIDE, "rank_by"),
    "semantic": Filter(
        semantic.SemanticFilterConfig, semantic.keep, semantic.VERSION, semantic.NEEDS, semantic.SIDE, "rank_by"
    ),
    "quality_floor": Filter(
        quality_floor.QualityFloorConfig, quality_floor.keep, quality_floor.VERSION, quality_floor.NEEDS, by="by"
    ),
    "dpp": Filter(dpp.DppConfig, dpp.keep, dpp.VERSION, dpp.NEEDS, dpp.SIDE, "by"),
    "cap_per_task": Filter(cap_per_task.CapPerTaskConfig, cap_per_task.keep, cap_per_task.VERSION, cap_per_task.NEEDS),
    "best_of": Filter(best_of.BestOfConfig, best_of.keep, best_of.VERSION, best_of.NEEDS),
    "random_n": Filter(random_n.RandomNConfig, random_n.keep, random_n.VERSION, random_n.NEEDS),
}

if TYPE_CHECKING:
    FilterConfig: TypeAlias = Any
else:
    FilterConfig = one_of([*(each.config for each in FILTERS.values()), EntryConfig], "kind")

__all__ = ["FILTERS", "Filter", "FilterConfig", "Verdicts"]
