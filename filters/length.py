"""Keeps rollouts within bounds of sampled tokens and of characters; a bound that is not set judges nothing.

Tokens are counted as sampled, the end-of-turn token included; characters are code points of the text, untrimmed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from ratoon.columns import numbers
from ratoon.config import Config, check_range
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("n_tokens", "text")
_BOUNDS = ("min_tokens", "max_tokens", "min_chars", "max_chars")


class LengthConfig(Config):
    """Keep rollouts whose length lies within every bound that is set, ends included."""

    kind: Literal["length"] = Field("length", description="this filter")
    min_tokens: int | None = Field(None, ge=0, description="fewest sampled tokens")
    max_tokens: int | None = Field(None, ge=0, description="most sampled tokens")
    min_chars: int | None = Field(None, ge=0, description="fewest characters")
    max_chars: int | None = Field(None, ge=0, description="most characters")

    @model_validator(mode="after")
    def _bands(self) -> LengthConfig:
        if all(getattr(self, name) is None for name in _BOUNDS):
            raise ValueError(f"a length filter without a bound judges nothing; set one of {', '.join(_BOUNDS)}")
        for unit in ("tokens", "chars"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if low is not None and high is not None:
                check_range(low, high, f"min_{unit} to max_{unit}")
        return self


def keep(rows: pa.Table, config: LengthConfig) -> Verdicts:
    """Drops for the first bound that is broken, `length:max_tokens` and so on, or `length:unknown` where the length is null."""
    sizes = {"tokens": numbers(rows["n_tokens"]), "chars": numbers(pc.utf8_length(rows["text"]))}
    codes = np.full(rows.num_rows, -1)
    value = np.full(rows.num_rows, np.nan)
    for code, name in enumerate(_BOUNDS):
        bound, size = getattr(config, name), sizes[name[4:]]
        if bound is None:
            continue
        broken = size < bound if name.startswith("min") else size > bound
        fresh = (codes < 0) & (broken | np.isnan(size))
        codes[fresh] = np.where(broken[fresh], code, len(_BOUNDS))
        judged = fresh | ((codes < 0) & np.isnan(value))
        value[judged] = size[judged]
    reasons = [f"length:{name}" for name in _BOUNDS] + ["length:unknown"]
    thresholds = [getattr(config, name) for name in _BOUNDS] + [None]
    return coded(codes, reasons, value=pa.array(value, mask=np.isnan(value)), thresholds=thresholds)
