"""Preference pairs: a reply that was preferred and one that was not, as texts or as whole conversations."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look
from ratoon.rows.roles import TEXTS

_CHOSEN = ("chosen", "chosen_response", "response_chosen", "preferred", "accepted", "output_1_chosen")
_REJECTED = ("rejected", "rejected_response", "response_rejected", "dispreferred", "refused", "output_2_rejected")


def _roles(look: Look) -> dict[str, str] | None:
    chosen, rejected = look.first(*_CHOSEN), look.first(*_REJECTED)
    if chosen is None or rejected is None:
        return None
    prompt = look.first(*TEXTS["prompt"].names)
    return {"completion": chosen, "rejected": rejected} | ({"prompt": prompt} if prompt else {})


LAYOUT = Layout(
    "preference", "`chosen` and `rejected`, with a `prompt` or with the whole conversation in each",
    {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}, _roles,
)  # fmt: skip
