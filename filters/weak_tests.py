"""Keeps rollouts of tasks whose tests tell wrong programs from right ones; runs no test.

What passes weak tests may be wrong: a task is judged by the share of its gold's mutants that its tests let pass.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import numbers
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("mutants_passed",)


class WeakTestsConfig(Config):
    """Keep rollouts of tasks whose tests let at most so many wrong programs pass."""

    kind: Literal["weak_tests"] = Field("weak_tests", description="this filter")
    max_passed: float = Field(0.2, ge=0, le=1, description="largest share of a gold's mutants that a task's tests may let pass")


def keep(rows: pa.Table, config: WeakTestsConfig) -> Verdicts:
    """Drops for `weak_tests`; a task whose mutants nobody ran (no code, or beyond `verify.measure.probes`) stays."""
    share = numbers(rows["mutants_passed"])
    unknown = np.isnan(share)
    codes = np.where(~unknown & (share > config.max_passed), 0, -1)
    return coded(codes, ["weak_tests"], value=pa.array(share, mask=unknown), thresholds=[config.max_passed])
