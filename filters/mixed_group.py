"""Keeps rollouts of groups that hold right and wrong ones: those that teach by contrast; knows no trainer.

The rule of DAPO (2503.14476) and NFT (2505.18116): a group all right or all wrong says nothing about which of its replies was
better. The rate is that of the whole group before any curation; a group whose right or wrong rollouts were all dropped by an
earlier step has lost its contrast too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import codes_of, numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("group_id", "status", "pass_rate", "stop_rule")
REASONS = ("group:unjudged", "group:all_wrong", "group:all_right", "rollout:unjudged", "group:one_sided", "group:stopped")


class MixedGroupConfig(Config):
    """Keep judged rollouts of groups with a pass rate above 0 and below 1."""

    kind: Literal["mixed_group"] = Field("mixed_group", description="this filter")


def keep(rows: pa.Table, _config: MixedGroupConfig) -> Verdicts:
    """Drops for `group:unjudged`, `group:all_wrong`, `group:all_right`, `rollout:unjudged` (neither pass nor fail),
    `group:one_sided` (earlier steps left only right or only wrong rollouts of a mixed group), and `group:stopped` (how long it
    was asked hung on its answers, so its rate is biased); the value is the pass rate."""
    rate, status = numbers(rows["pass_rate"]), whole(rows["status"])
    right, wrong = (np.asarray(pc.fill_null(pc.equal(status, name), False)) for name in ("pass", "fail"))
    codes = np.select([np.isnan(rate), rate <= 0, rate >= 1, ~(right | wrong)], [0, 1, 2, 3], default=-1)
    codes[np.asarray(pc.is_valid(whole(rows["stop_rule"])))] = 5
    group = codes_of(rows["group_id"])
    n = int(group.max(initial=-1)) + 1
    both = _any(group, right & (codes < 0), n) & _any(group, wrong & (codes < 0), n)
    codes[(codes < 0) & ~np.append(both, False)[group]] = 4
    return coded(codes, REASONS, value=pa.array(rate, mask=np.isnan(rate)), thresholds=[None, 0.0, 1.0, None, None, None])


def _any(group: np.ndarray, where: np.ndarray, n: int) -> np.ndarray:
    """Whether any row of each group is marked."""
    return np.bincount(group[where & (group >= 0)], minlength=n) > 0
