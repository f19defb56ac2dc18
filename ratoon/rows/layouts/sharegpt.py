"""ShareGPT: a conversation a row under `conversations`, from and value."""

from __future__ import annotations

from collections.abc import Mapping

from ratoon.rows.layouts.layout import Layout, Look


def _roles(look: Look) -> dict[str, str] | None:
    column = look.first("conversations", "conversation")
    if column is None or not look.chat(column):
        return None
    firsts = (value[0] for value in look.values(column) if isinstance(value, list) and value)
    return {"messages": column} if any(isinstance(turn, Mapping) and "from" in turn for turn in firsts) else None


LAYOUT = Layout(
    "ShareGPT", "a conversation under `conversations`: from (human, gpt …) and value",
    {"conversations": [{"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}]}, _roles,
)  # fmt: skip
