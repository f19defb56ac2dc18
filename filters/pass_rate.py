"""Keeps rollouts of groups whose pass rate lies in a band; knows nothing of the single rollout.

Dropping the all-right and the all-wrong groups is `lo = 0, hi = 1` with both ends exclusive (Reinforce-Rej, 2504.11343).
With few samples a rate is noise: `overlap` drops a group only when its Wilson interval lies wholly outside the band.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from ratoon.columns import numbers
from ratoon.config import Config, check_range
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("pass_rate", "pass_lo", "pass_hi")


class PassRateConfig(Config):
    """Keep rollouts whose group's pass rate lies between `lo` and `hi`."""

    kind: Literal["pass_rate"] = Field("pass_rate", description="this filter")
    lo: float = Field(0.0, ge=0, le=1, description="lower end of the band")
    hi: float = Field(1.0, ge=0, le=1, description="upper end of the band")
    lo_inclusive: bool = Field(True, description="whether a rate of exactly `lo` stays")
    hi_inclusive: bool = Field(True, description="whether a rate of exactly `hi` stays")
    interval: Literal["point", "overlap"] = Field(
        "point", description="judge the rate itself, or keep every group whose Wilson interval meets the band"
    )

    @model_validator(mode="after")
    def _band(self) -> PassRateConfig:
        check_range(self.lo, self.hi, "lo to hi")
        if self.lo == self.hi and not (self.lo_inclusive and self.hi_inclusive):
            raise ValueError(f"the band from {self.lo} to {self.hi} without its ends is empty")
        return self


def keep(rows: pa.Table, config: PassRateConfig) -> Verdicts:
    """Drops for `pass_rate:low`, `pass_rate:high`, or `pass_rate:unknown` where no sample of the group could be judged."""
    rate = numbers(rows["pass_rate"])
    top, bottom = (rate, rate) if config.interval == "point" else (numbers(rows["pass_hi"]), numbers(rows["pass_lo"]))
    low = top < config.lo if config.lo_inclusive else top <= config.lo
    high = bottom > config.hi if config.hi_inclusive else bottom >= config.hi
    unknown = np.isnan(top) | np.isnan(bottom)
    codes = np.select([unknown, low, high], [2, 0, 1], default=-1)
    return coded(
        codes,
        ["pass_rate:low", "pass_rate:high", "pass_rate:unknown"],
        value=pa.array(rate, mask=np.isnan(rate)),
        thresholds=[config.lo, config.hi, None],
    )
