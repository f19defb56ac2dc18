"""Tasks that no rollout of the round solved are asked again at another temperature, in the same round.

A group that is all wrong teaches neither RFT nor NFT; a warmer (or colder) policy may find a first solution. The further
rollouts are groups of their own under their own sampling: no pass rate mixes two temperatures.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from ratoon.config import Config
from ratoon.generators.waves.rule import Again


class FailedAgainConfig(Config):
    """Ask all-failed tasks again."""

    kind: Literal["failed_again"] = "failed_again"
    temperature: float = Field(ge=0, description="softmax temperature of the further rollouts; not that of [sampling]")
    n: int = Field(8, ge=1, description="further rollouts per task")


def failed_again(groups: pa.Table, config: FailedAgainConfig) -> Again:
    """The tasks of `groups` with a judged rollout and none that passed; a task nobody could judge is not asked again."""
    judged, solved = set[str](), set[str]()
    for row in groups.select(["task_id", "n_valid", "n_passed"]).to_pylist():
        if row["n_valid"]:
            judged.add(row["task_id"])
        if row["n_passed"]:
            solved.add(row["task_id"])
    return Again(frozenset(judged - solved), config.n, {"temperature": config.temperature})
