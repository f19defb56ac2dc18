"""vLLM's flat log-probs taken apart: those of a position lie between its start and its end, the token's own first."""

from __future__ import annotations

from typing import Any


def first_per_position(flat: Any) -> list[float]:
    """The token's own log-prob of each position; a prompt's first token has none and is left out."""
    return [flat.logprobs[a] for a, b in zip(flat.start_indices, flat.end_indices, strict=True) if b > a]


def all_per_position(flat: Any) -> list[dict[int, float]]:
    """The sampled token and the likeliest ones of each position, by id."""
    spans = zip(flat.start_indices, flat.end_indices, strict=True)
    return [dict(zip(flat.token_ids[a:b], flat.logprobs[a:b], strict=True)) for a, b in spans]
