"""Keeps one rollout of each text; knows only text that is equal once normalised, not text that is near.

The one kept is that of the smallest id, so that neither row order nor shards decide.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import codes_of, whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded, ranks
from ratoon.hashes import text_digests

VERSION = "1"
NEEDS = ("rollout_id", "text", "prompt_id", "problem_key")
STORED = ("text_hi", "text_lo")  # of table lint: what takes the place of the text
_SCOPES = {"prompt": "prompt_id", "problem": "problem_key"}


class ExactDedupConfig(Config):
    """Keep one rollout per normalised text within a scope."""

    kind: Literal["exact_dedup"] = Field("exact_dedup", description="this filter")
    scope: Literal["prompt", "problem", "all"] = Field(
        "prompt", description="equal texts count as one within a prompt, within a problem, or anywhere"
    )


def keep(rows: pa.Table, config: ExactDedupConfig) -> Verdicts:
    """Drops for `duplicate`; the evidence is the rollout that stays. A null text or scope equals no other."""
    text = _normalised(rows)
    scope = np.zeros(rows.num_rows, np.int64) if config.scope == "all" else codes_of(rows[_SCOPES[config.scope]])
    known = np.flatnonzero((text >= 0) & (scope >= 0))
    rank = ranks(rows["rollout_id"])
    order = known[np.lexsort((rank[known], text[known], scope[known]))]
    first = np.ones(len(order), bool)
    first[1:] = (scope[order][1:] != scope[order][:-1]) | (text[order][1:] != text[order][:-1])
    survivor = order[first][np.cumsum(first) - 1] if len(order) else order
    evidence = np.full(rows.num_rows, -1)
    evidence[order[~first]] = survivor[~first]
    codes = np.where(evidence >= 0, 0, -1)
    ids = whole(rows["rollout_id"]).take(pa.array(evidence, mask=evidence < 0))
    return coded(codes, ["duplicate"], evidence_id=ids)


def _normalised(rows: pa.Table) -> np.ndarray:
    """One int per row, equal where the normalised texts are; null is -1. Stored digests spare reading the texts."""
    if {"text_hi", "text_lo"} <= set(rows.column_names):
        known = np.asarray(rows["text_hi"].is_valid())
        digests = np.stack([np.asarray(whole(rows[name]).fill_null(0)) for name in ("text_hi", "text_lo")], axis=1)
    else:
        known, digests = np.asarray(rows["text"].is_valid()), text_digests(rows["text"])
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    new = np.ones(len(order), bool)
    new[1:] = (digests[order][1:] != digests[order][:-1]).any(axis=1)
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(new) - 1
    codes[~known] = -1
    return codes
