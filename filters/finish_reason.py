"""Keeps rollouts that ended as they should; knows nothing of what they say.

A reply cut by its length limit has no end to learn from: the model would be taught to stop nowhere.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("finish_reason",)


class FinishReasonConfig(Config):
    """Keep rollouts whose finish reason is among `allow`."""

    kind: Literal["finish_reason"] = Field("finish_reason", description="this filter")
    allow: tuple[Literal["stop", "length"], ...] = Field(("stop",), description="finish reasons that stay", min_length=1)


def keep(rows: pa.Table, config: FinishReasonConfig) -> Verdicts:
    """Drops for `finish_reason:NAME`, and for `finish_reason:unknown` where there is none."""
    reasons_by_code = whole(rows["finish_reason"]).dictionary_encode()
    names = reasons_by_code.dictionary.to_pylist()
    reasons = [f"finish_reason:{name}" for name in names] + ["finish_reason:unknown"]
    codes = np.array([-1 if name in config.allow else i for i, name in enumerate(names)] + [len(names)])
    return coded(codes[np.asarray(reasons_by_code.indices.fill_null(len(names)))], reasons)
