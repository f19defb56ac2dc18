"""Keeps a fixed number of rollouts at random: the control that every other selection is compared with.

The choice is by hash of (seed, rollout id), so it depends on no row order, and a larger n keeps all that a smaller one kept.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from xxhash import xxh3_64_intdigest

from ratoon import ids
from ratoon.columns import whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded, ranks

VERSION = "2"
NEEDS = ("rollout_id", "iteration")


class RandomNConfig(Config):
    """Keep `n` rollouts of each round by hash."""

    kind: Literal["random_n"] = Field("random_n", description="this filter")
    n: int | tuple[int, ...] = Field(description="rollouts kept in every round, or a number per round, the last for all after")
    seed: int = Field(0, description="another seed, another choice")


def keep(rows: pa.Table, config: RandomNConfig) -> Verdicts:
    """Drops with reason `random` what is not among the `n` of least hash in its round."""
    seed = ids.derive_seed(config.seed, "random_n")
    names = whole(rows["rollout_id"]).cast(pa.string())
    hashes = np.fromiter((xxh3_64_intdigest(name, seed) for name in names.cast(pa.binary()).to_pylist()), np.uint64, len(names))
    rounds = np.asarray(whole(rows["iteration"]).cast(pa.int64()).fill_null(0))
    order = np.lexsort((ranks(names), hashes, rounds))
    codes = np.zeros(rows.num_rows, np.int64)
    for of_round in np.split(order, np.flatnonzero(np.diff(rounds[order])) + 1):
        if len(of_round):
            codes[of_round[: _n(config, int(rounds[of_round[0]]))]] = -1
    return coded(codes, ["random"])


def _n(config: RandomNConfig, iteration: int) -> int:
    if isinstance(config.n, int):
        return config.n
    return config.n[min(max(iteration, 1), len(config.n)) - 1]
