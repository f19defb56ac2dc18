"""Keeps a fixed number of rollouts at random: the control that every other selection is compared with.

The choice is by hash of (seed, rollout id), so it depends on no row order, and a larger n keeps all that a smaller one kept.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import ids
from ratoon.config import Config
from ratoon.filters.verdicts import Verdicts, coded

VERSION = "1"
NEEDS = ("rollout_id", "iteration")


class RandomNConfig(Config):
    """Keep `n` rollouts of each round by hash."""

    kind: Literal["random_n"] = Field("random_n", description="this filter")
    n: int | tuple[int, ...] = Field(description="rollouts kept in every round, or a number per round, the last for all after")
    seed: int = Field(0, description="another seed, another choice")


def keep(rows: pa.Table, config: RandomNConfig) -> Verdicts:
    """Drops with reason `random` what is not among the `n` of least hash in its round."""
    codes = np.zeros(rows.num_rows, np.int64)
    by_round: dict[int, list[tuple[int, str, int]]] = {}
    columns = zip(rows["rollout_id"].to_pylist(), rows["iteration"].to_pylist(), strict=True)
    for at, (rollout_id, iteration) in enumerate(columns):
        by_round.setdefault(iteration or 0, []).append((ids.derive_seed(config.seed, "random_n", rollout_id), rollout_id, at))
    for iteration, found in by_round.items():
        codes[[at for _, _, at in sorted(found)[: _n(config, iteration)]]] = -1
    return coded(codes, ["random"])


def _n(config: RandomNConfig, iteration: int) -> int:
    if isinstance(config.n, int):
        return config.n
    return config.n[min(max(iteration, 1), len(config.n)) - 1]
