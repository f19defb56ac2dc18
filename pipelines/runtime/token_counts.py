"""What rollouts cost in tokens: as a server counted them, else by their ids. Knows no price and no Prefect."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.engine import Usage


def token_counts(rollouts: pa.Table, prompts: pa.Table) -> Usage:
    """The tokens of all `rollouts` together, failed ones included; `prompts` holds the prompts they were asked."""
    lengths = dict(
        zip(
            prompts["prompt_id"].to_pylist(),
            pc.list_value_length(prompts["token_ids"]).to_pylist(),
            strict=True,
        )
    )
    by_ids = pc.fill_null(pc.list_value_length(rollouts["token_ids"]), 0)
    rows = zip(rollouts["prompt_id"].to_pylist(), by_ids.to_pylist(), rollouts["meta"].to_pylist(), strict=True)
    total = Usage(0, 0)
    for prompt_id, sampled, meta in rows:
        total += _counted(meta) or Usage(lengths[prompt_id] or 0, sampled)
    return total


def _counted(meta: str | None) -> Usage | None:
    """The tokens that the server counted for one reply, from the row's `meta`; null where it counted none."""
    if meta is None or '"usage":' not in meta:
        return None
    return Usage(**json.loads(meta)["usage"])
