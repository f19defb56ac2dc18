"""Section `[gate]` of a recipe: which reasons of the training gate are overridden."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratoon.config import Config

Reason = Literal["contamination", "verifier", "examples", "collapse"]
REASONS: tuple[Reason, ...] = ("contamination", "verifier", "examples", "collapse")


class GateConfig(Config):
    """What stands between a dataset and training."""

    override: tuple[Reason, ...] = Field(
        (),
        description="reasons that refuse nothing: contamination, verifier, examples, collapse; each is recorded where it held",
    )
    max_contaminated: int = Field(
        0, ge=0, description="rows to train on that may hold an item of the held-out tasks or of `curation.against`"
    )
