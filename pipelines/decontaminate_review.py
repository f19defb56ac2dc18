"""Rows that say nearly what a benchmark's question says, by embeddings: for a person to look at. Drops nothing.

N-grams miss a question with other numbers, or in other words; near vectors find some of these, and much that is merely about
the same thing. So each is listed with both texts, and whoever reads them decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ratoon.metrics import embeddings
from ratoon.metrics.contamination import Index
from ratoon.metrics.embeddings import EmbeddingConfig
from ratoon.pipelines import benchmarks

NEAR = 0.9
_CUT = 400


class Reviewer:
    """The questions of an index as vectors, and what comes near them."""

    def __init__(self, index: Index, near: float = NEAR, config: EmbeddingConfig | None = None) -> None:
        self.near, self.config = near, config or EmbeddingConfig()
        asked = index.items.filter(pc.equal(index.items["part"], "question"))
        self.names, self.texts = asked["item_id"].to_pylist(), asked["text"].to_pylist()
        self.vectors = embeddings.embed(self.texts, self.config) if self.texts else None

    def of(self, batch: Sequence[tuple[str, dict[str, Any]]], matched: Collection[int]) -> list[dict[str, Any]]:
        """The nearest question of each row of a batch whose cosine is at least `near`; `matched` rows are told elsewhere."""
        texts = [
            (at, column, text) for at, (_, row) in enumerate(batch) if at not in matched
            for column, text in benchmarks.texts_of(row) if text.strip()
        ]  # fmt: skip
        if not texts or self.vectors is None:
            return []
        cosine = embeddings.embed([text for *_, text in texts], self.config) @ self.vectors.T
        best, most = cosine.argmax(1), cosine.max(1)
        found: dict[int, dict[str, Any]] = {}
        for i in np.flatnonzero(most >= self.near):
            at, column, text = texts[i]
            told = {"row": batch[at][0], "column": column, "item": self.names[best[i]], "cosine": round(float(most[i]), 4),
                    "text": text[:_CUT], "question": self.texts[best[i]][:_CUT]}  # fmt: skip
            if at not in found or told["cosine"] > found[at]["cosine"]:
                found[at] = told
        return list(found.values())
