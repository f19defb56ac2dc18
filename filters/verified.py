"""Keeps rollouts that passed; knows no verifier and runs none.

A pass by a vote is no pass by a verifier, so the source of the label can be asked for.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("status", "label_source", "value")


class VerifiedConfig(Config):
    """Keep rollouts of status `pass`."""

    kind: Literal["verified"] = Field("verified", description="this filter")
    label_source: str | None = Field(
        None, description="the label must come from here (verifier, consensus …); any source if not set"
    )


def keep(rows: pa.Table, config: VerifiedConfig) -> Verdicts:
    """Drops for `unverified:STATUS` (`unverified:unknown` where none), then for `unverified:label_source`."""
    statuses = whole(rows["status"]).dictionary_encode()
    names = statuses.dictionary.to_pylist()
    reasons = [f"unverified:{name}" for name in names] + ["unverified:unknown", "unverified:label_source"]
    by_name = np.array([-1 if name == "pass" else i for i, name in enumerate(names)] + [len(names)])
    codes = by_name[np.asarray(statuses.indices.fill_null(len(names)))]
    if config.label_source is not None:
        other = np.asarray(pc.fill_null(pc.not_equal(rows["label_source"], config.label_source), True))
        codes[(codes < 0) & other] = len(names) + 1
    return coded(codes, reasons, value=whole(rows["value"]).cast(pa.float64()))
