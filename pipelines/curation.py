"""Section `[curation]` of a recipe: what the numbers that filters read are measured by. Composes component configs only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratoon.config import Config, operational
from ratoon.metrics.contamination import ContaminationConfig
from ratoon.metrics.embeddings import EmbeddingConfig
from ratoon.metrics.minhash import MinHashConfig
from ratoon.metrics.semantic import SemanticConfig


class CurationConfig(Config):
    """What filters' numbers are measured by, and what is written beside the dataset."""

    minhash: MinHashConfig = Field(MinHashConfig(), description="near-duplicates, for filter `minhash`")
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), description="vectors, for filters `semantic` and `dpp`")
    semantic: SemanticConfig = Field(SemanticConfig(), description="pairs of near vectors, for filter `semantic`")
    contamination: ContaminationConfig = Field(ContaminationConfig(), description="matches, for filter `decontaminate`")
    against: tuple[str, ...] = Field(
        (), description="benchmarks beside the held-out tasks: files, folders or Hugging Face ids; read once, then frozen"
    )
    review: float | None = Field(
        None, gt=0, le=1,
        description="cosine (0.9 is usual) from which a task or right rollout near such a question becomes an edge of kind "
        "`review` where filter `decontaminate` stands: for a person to look at, never dropped; absent: none is looked for",
    )  # fmt: skip
    runs: tuple[str, ...] = Field((), description="folders of other runs whose texts count as earlier ones")
    control: bool = Field(
        False, description="also write dataset NAME-control: as many rollouts at random behind the gates of correctness alone"
    )
    train_on: Literal["prompt", "question"] = Field(
        "prompt",
        description="what an example asks: the prompt that was sampled, or, of tasks from documents, the question without its "
        "passages (log-probs go; only view sft)",
    )
    licence: str | None = Field(None, description="licence on the dataset card, for example `apache-2.0`")
    cache: str | None = operational(None, description="folder of stored vectors; the user's own cache if not set")
