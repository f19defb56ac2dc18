"""A conversation a row: role and content, parts, tool calls, JSON text, or a struct of lists."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look
from ratoon.rows.roles import TEXTS


def _roles(look: Look) -> dict[str, str] | None:
    columns = (look.first(name) for name in TEXTS["messages"].names)
    chats = [name for name in columns if name is not None and (look.chat(name) or not look.values(name))]
    return {"messages": chats[0]} if chats else None


LAYOUT = Layout(
    "messages", "a conversation under `messages` (or `chat`, `dialog` …): role and content",
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]}, _roles,
)  # fmt: skip
