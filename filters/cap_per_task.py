"""Keeps at most k rollouts per task, each another reasoning, far from one another; knows no verifier.

The rule of RFT (Yuan et al., 2308.01825: one path per key, on a collision the one of larger summed edit distance) and of
ReST-EM (2312.06585: at most 10 right solutions per problem), made greedy: the best by (score descending, tokens
ascending, id) comes first, then, among those of the highest score left, the one farthest from all chosen so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from rapidfuzz.distance import Levenshtein

from ratoon.columns import codes_of, numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded, ranks
from ratoon.filters.reasoning_key import reasoning_key
from ratoon.text import normalise

VERSION = "1"
NEEDS = ("rollout_id", "task_id", "prompt_id", "problem_key", "text", "value", "n_tokens")
_SCOPES = {"task": "task_id", "prompt": "prompt_id", "problem": "problem_key"}
_KEPT, _SAME, _OVER = -1, 0, 1


class CapPerTaskConfig(Config):
    """Keep at most `k` rollouts per task, of distinct reasoning."""

    kind: Literal["cap_per_task"] = Field("cap_per_task", description="this filter")
    k: int = Field(4, ge=1, description="most rollouts that stay")
    key: Literal["equations", "text"] = Field(
        "equations", description="same reasoning: equal equations (else numbers, else text), or equal normalised text only"
    )
    scope: Literal["task", "prompt", "problem"] = Field("task", description="what the cap counts by")


def keep(rows: pa.Table, config: CapPerTaskConfig) -> Verdicts:
    """Drops for `duplicate:key` (the evidence is the kept rollout of that key) and for `cap` (threshold k)."""
    scope, score = codes_of(rows[_SCOPES[config.scope]]), numbers(rows["value"])
    score = np.where(np.isnan(score), -np.inf, score)
    rank = ranks(rows["rollout_id"])
    order = np.lexsort((rank, numbers(rows["n_tokens"]), -score, scope))
    order = order[scope[order] >= 0]
    texts, keys = _texts_and_keys(whole(rows["text"]), config.key)
    codes, evidence = np.full(rows.num_rows, _KEPT), np.full(rows.num_rows, -1)
    starts = np.flatnonzero(np.diff(scope[order], prepend=-2))
    for members in np.split(order, starts[1:]):
        if len(members) > 1:
            _choose(members.tolist(), texts, keys, score, config.k, codes, evidence)
    ids = whole(rows["rollout_id"]).take(pa.array(evidence, mask=evidence < 0))
    return coded(codes, ["duplicate:key", "cap"], thresholds=[None, config.k], evidence_id=ids)


def _texts_and_keys(column: pa.Array, kind: str) -> tuple[list[str], list[int]]:
    """Each row's text and the number of its key; a distinct text is parsed once, a null text is empty."""
    texts_by_code = column.fill_null("").dictionary_encode()
    make = reasoning_key if kind == "equations" else normalise
    seen: dict[str, int] = {}
    distinct = texts_by_code.dictionary.to_pylist()
    numbered = [seen.setdefault(make(text), len(seen)) for text in distinct]
    indices = texts_by_code.indices.to_pylist()
    return [distinct[i] for i in indices], [numbered[i] for i in indices]


def _choose(
    pool: list[int],
    texts: Sequence[str],
    keys: Sequence[int],
    score: np.ndarray,
    k: int,
    codes: np.ndarray,
    evidence: np.ndarray,
) -> None:
    """Write the codes of one task's rows; `pool` comes in order and is used up."""
    if len(pool) <= k and len({keys[i] for i in pool}) == len(pool):
        return
    far = dict.fromkeys(pool, 0)
    for chosen_so_far in range(k):
        if not pool:
            return
        tier = score[pool[0]]
        chosen = max((i for i in pool if score[i] == tier), key=far.__getitem__)
        rest = []
        for i in pool:
            if keys[i] != keys[chosen]:
                rest.append(i)
            elif i != chosen:
                codes[i], evidence[i] = _SAME, chosen
        if chosen_so_far < k - 1:
            for i in rest:
                far[i] += Levenshtein.distance(texts[chosen], texts[i])
        pool = rest
    codes[pool] = _OVER
