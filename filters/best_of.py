"""Keeps the one reply per group that its own model likes best: best-of-n by a self-reward; knows no verifier and no truth.

The selection of SFT-sharpening (2412.01951): by the reply's log-probability (summed, which prefers short replies), by its mean
per token, or by majority: a reply whose answer has the most of the group's replies behind it, the sampled estimate of that
answer's mass. It adds nothing to what the model can say: an answer that was never sampled is never chosen.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ratoon.columns import codes_of, numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded, ranks

VERSION = "1"
NEEDS = ("rollout_id", "group_id", "finish_reason", "answer", "logprob", "n_tokens")
_REASONS = ("not_best", "no_logprob", "no_answer", "cut")


class BestOfConfig(Config):
    """Keep the best reply of each group by a self-reward; replies cut by length take no part."""

    kind: Literal["best_of"] = Field("best_of", description="this filter")
    by: Literal["logprob", "logprob_per_token", "majority"] = Field(
        "logprob_per_token",
        description="logprob: of the whole reply, prefers short ones; logprob_per_token: its mean; majority: the replies with"
        " its answer, among them the highest mean",
    )


def keep(rows: pa.Table, config: BestOfConfig) -> Verdicts:
    """Drops for `not_best` (the evidence is the reply that was), `no_logprob`, `no_answer` (majority only) and `cut`.

    Equals are told apart by the higher mean log-prob, then by id. The value is what was compared.
    """
    group, total, tokens = codes_of(rows["group_id"]), numbers(rows["logprob"]), numbers(rows["n_tokens"])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / tokens
    answer = codes_of(rows["answer"])
    cut = np.asarray(pc.fill_null(pc.equal(rows["finish_reason"], "length"), False))
    silent = (answer < 0) & (config.by == "majority")
    codes = np.select([cut, np.isnan(mean), silent], [3, 1, 2], default=0)
    able = (codes == 0) & (group >= 0)
    value = {"logprob": total, "logprob_per_token": mean, "majority": _behind(group, answer, able)}[config.by]
    rank = ranks(rows["rollout_id"])
    at = np.flatnonzero(able)
    order = at[np.lexsort((rank[at], -mean[at], -value[at], group[at]))]
    best = order[np.flatnonzero(np.diff(group[order], prepend=-2))]
    codes[best] = -1
    chosen = np.full(int(group.max(initial=-1)) + 2, -1)
    chosen[group[best]] = best
    evidence = np.where(codes == 0, chosen[group], -1)
    ids = whole(rows["rollout_id"]).take(pa.array(evidence, mask=evidence < 0))
    return coded(codes, _REASONS, value=pa.array(value, mask=np.isnan(value) | ~able), evidence_id=ids)


def _behind(group: np.ndarray, answer: np.ndarray, able: np.ndarray) -> np.ndarray:
    """How many of the group's replies have each reply's answer."""
    keys = group * (int(answer.max(initial=-1)) + 2) + answer
    answers, counts = np.unique(keys[able], return_counts=True)
    out = np.zeros(len(group))
    out[able] = counts[np.searchsorted(answers, keys[able])]
    return out
