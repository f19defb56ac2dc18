"""Texts that say nearly what a held-out or benchmark question says, by embeddings: for a person to look at. Drops nothing.

N-grams miss a question with other numbers, or in other words; near vectors find some of these, and much that is merely about
the same thing. So each is told with its question, and whoever reads both decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon import schema
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.embeddings.embed import EmbeddingConfig
from ratoon.pipelines.contamination.row_texts import Text

KIND = "review"
NEAR = 0.9
_CUT = 400
_ROWS = 8192  # compared with every question at once


class Reviewer:
    """The questions among rows of table `benchmarks` as vectors, and what comes near them."""

    def __init__(
        self, items: pa.Table, near: float = NEAR, config: EmbeddingConfig | None = None, cache: Path | None = None
    ) -> None:
        self.near, self.config = near, config or EmbeddingConfig()
        asked = items.filter(pc.equal(items["part"], "question"))
        self.names, self.texts = asked["item_id"].to_pylist(), asked["text"].to_pylist()
        self.vectors = embeddings.embed(self.texts, self.config, cache) if self.texts else None

    def of(self, batch: Sequence[tuple[str, Sequence[Text]]], matched: Collection[int]) -> list[dict[str, Any]]:
        """The nearest question of each row of a batch (its place and texts) whose cosine is at least `near`.

        `matched` rows are told elsewhere.
        """
        texts = [
            (at, text.column, "\n".join(text.pieces)) for at, (_, row) in enumerate(batch) if at not in matched for text in row
        ]
        if not texts or self.vectors is None:
            return []
        best, most = self._nearest(embeddings.embed([text for *_, text in texts], self.config))
        found: dict[int, dict[str, Any]] = {}
        for i in np.flatnonzero(most >= self.near):
            at, column, text = texts[i]
            told = {"row": batch[at][0], "column": column, "item": self.names[best[i]], "cosine": round(float(most[i]), 4),
                    "text": text[:_CUT], "question": self.texts[best[i]][:_CUT]}  # fmt: skip
            if at not in found or told["cosine"] > found[at]["cosine"]:
                found[at] = told
        return list(found.values())

    def edges(self, ids: pa.Array, vectors: NDArray[Any]) -> pa.Table:
        """Table edges of kind `review`: each id whose unit row of `vectors` (`[n, d]`; NaN: unknown) is near a question."""
        made_by, rows = embeddings.fingerprint(self.config), []
        for start in range(0, len(ids) if self.vectors is not None else 0, _ROWS):
            best, most = self._nearest(np.asarray(vectors[start : start + _ROWS], np.float32))
            for i in np.flatnonzero(most >= self.near):
                rows.append({"kind": KIND, "a_id": ids[start + int(i)].as_py(), "b_id": self.names[best[i]],
                             "similarity": round(float(most[i]), 4), "version": made_by})  # fmt: skip
        return schema.from_rows("edges", rows)

    def _nearest(self, vectors: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The nearest question of each row and its cosine; -1 for a row that is unknown."""
        cosine = np.nan_to_num(vectors @ self.vectors.T, nan=-1.0)  # type: ignore[union-attr]
        return cosine.argmax(1), cosine.max(1)
