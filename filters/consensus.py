"""Keeps rollouts that say what their group's vote accepted, where no verifier judged; counts no vote.

Agreement is not correctness: calibrate `min_share` on tasks with a known answer (`metrics.calibration`). Rows that a verifier
judged are none of this filter's business and stay.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded

VERSION = "1"
NEEDS = ("rollout_id", "label_source", "answer", "vote", "vote_share", "vote_margin", "vote_status")


class ConsensusConfig(Config):
    """Keep rollouts that agree with an accepted vote."""

    kind: Literal["consensus"] = Field("consensus", description="this filter")
    min_share: float = Field(0.0, ge=0, le=1, description="least share of the votes that the first answer has")
    min_margin: float = Field(0.0, ge=0, le=1, description="least lead over the second answer, as a share of the votes")
    statuses: tuple[str, ...] = Field(("accepted",), description="vote statuses that count as accepted")


def keep(rows: pa.Table, config: ConsensusConfig) -> Verdicts:
    """Drops for `consensus:STATUS` (no accepted vote), `consensus:share`, `consensus:margin`, `consensus:disagrees`."""
    voted = ~np.asarray(pc.fill_null(pc.equal(rows["label_source"], "verifier"), False))
    statuses = whole(pc.fill_null(rows["vote_status"], "unknown")).dictionary_encode()
    names = statuses.dictionary.to_pylist()
    status = np.asarray(statuses.indices)
    accepted = np.array([name in config.statuses for name in names], bool)[status] if names else np.zeros(0, bool)
    share, margin = numbers(rows["vote_share"]), numbers(rows["vote_margin"])
    agrees = np.asarray(pc.fill_null(pc.equal(rows["answer"], rows["vote"]), False))
    n = len(names)
    codes = np.select(
        [~voted, ~accepted, ~(share >= config.min_share), ~(margin >= config.min_margin), ~agrees],
        [np.full(len(voted), -1), status, n, n + 1, n + 2],
        default=-1,
    )
    reasons = [*(f"consensus:{name}" for name in names), "consensus:share", "consensus:margin", "consensus:disagrees"]
    limits = [*[None] * n, config.min_share, config.min_margin, None]
    return coded(codes, reasons, value=pa.array(share, mask=np.isnan(share)), thresholds=limits)
