"""Sections `[curation]`, `[audit]` and `[gate]` of a recipe: what numbers are measured by, and their limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratoon.config import Config, operational
from ratoon.metrics.embeddings.cosine_pairs import SemanticConfig
from ratoon.metrics.embeddings.embed import EmbeddingConfig
from ratoon.metrics.qdc.tiers import TierConfig
from ratoon.metrics.report.warnings import LimitsConfig
from ratoon.metrics.text.contamination import ContaminationConfig
from ratoon.metrics.text.minhash import MinHashConfig

Reason = Literal["contamination", "verifier", "examples", "collapse"]
REASONS: tuple[Reason, ...] = ("contamination", "verifier", "examples", "collapse")


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


class AuditConfig(Config):
    """How much `ratoon audit` looks at, and the limits of its warnings."""

    tier: Literal["cheap", "medium"] = Field("medium", description="cheap needs no model; medium embeds a sample")
    at_end: Literal["off", "cheap", "medium"] = operational("medium", description="tier of the audits that a run ends with")
    seed: int = Field(0, ge=0, description="seed of every sample")
    rows: int = Field(1_000_000, ge=1, description="rows read at most of each side: whole tasks chosen by hash; all if fewer")
    sample: int = Field(5_000, ge=2, description="rows embedded of each side, whole tasks chosen by hash")
    prompts: int = Field(1_000, ge=2, description="prompts embedded of each side")
    pairs: int = Field(20_000, ge=2, description="rows of each side among which near-duplicates are looked for")
    matched: int = Field(100_000, ge=1, description="rows compared with evaluation sets at most")
    clusters: int = Field(100, ge=1, description="regions of the map at most: one for every 20 rows of the older side")
    draws: int = Field(20, ge=2, description="subsamples behind each interval of a diversity")
    benchmarks: tuple[str, ...] = Field((), description="evaluation sets: files, folders or Hugging Face ids")
    limits: LimitsConfig = Field(LimitsConfig(), description="beyond what it warns")
    measure: TierConfig = Field(TierConfig(), description="kernel, embedding model and cut of texts")


class GateConfig(Config):
    """What stands between a dataset and training."""

    override: tuple[Reason, ...] = Field(
        (),
        description="reasons that refuse nothing: contamination, verifier, examples, collapse; each is recorded where it held",
    )
    max_contaminated: int = Field(
        0, ge=0, description="rows to train on that may hold an item of the held-out tasks or of `curation.against`"
    )
