"""Drops replies whose length lies far from that of the others: beyond the mean ± k standard deviations (SELF-GUIDE's rule).

Mean and deviation are of the rows that reach this step, per family or over all, so the order of rows decides nothing. Lengths
are characters; a family of fewer than `min_rows` is left alone, since it has no usual length.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import codes_of, numbers
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("text", "family")


class LengthBandConfig(Config):
    """Keep rollouts of usual length."""

    kind: Literal["length_band"] = Field("length_band", description="this filter")
    k: float = Field(2.0, gt=0, description="standard deviations from the mean, ends included")
    scope: Literal["family", "all"] = Field("family", description="whose mean it is")
    min_rows: int = Field(8, ge=2, description="fewest rows that have a usual length")


def keep(rows: pa.Table, config: LengthBandConfig) -> Verdicts:
    """Drops for `length_band:short`, `length_band:long`, or `length_band:unknown` where there is no text; the value is the
    length, the threshold the end of the band."""
    size = numbers(pc.utf8_length(rows["text"]))
    known = ~np.isnan(size)
    group = np.zeros(rows.num_rows, np.int64) if config.scope == "all" else codes_of(rows["family"]) + 1
    count, mean, deviation = _moments(size, group, known)
    low, high = mean - config.k * deviation, mean + config.k * deviation
    usual = count >= config.min_rows
    codes = np.select([~known, usual & (size < low - 1e-9), usual & (size > high + 1e-9)], [2, 0, 1], default=-1)
    ends = np.where(codes == 0, low, high)
    verdicts = coded(codes, ["length_band:short", "length_band:long", "length_band:unknown"], value=pa.array(size, mask=~known))
    bounded = (codes == 0) | (codes == 1)
    return Verdicts(verdicts.keep, verdicts.reason, verdicts.value, pa.array(ends, mask=~bounded), None)


def _moments(size: np.ndarray, group: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row's group: the count, mean and population standard deviation of its known sizes."""
    n = int(group.max(initial=0)) + 1
    count = np.bincount(group[known], minlength=n)
    safe = np.maximum(count, 1)
    mean = np.bincount(group[known], weights=size[known], minlength=n) / safe
    spread = np.bincount(group[known], weights=(size[known] - mean[group[known]]) ** 2, minlength=n) / safe
    return count[group], mean[group], np.sqrt(spread)[group]
