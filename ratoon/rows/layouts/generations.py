"""Several replies a row: a list of texts, or of conversations, beside the prompt they answer."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look
from ratoon.rows.roles import TEXTS


def _roles(look: Look) -> dict[str, str] | None:
    columns = (look.first(name) for name in TEXTS["completions"].names)
    column = next((name for name in columns if name is not None and look.replies(name)), None)
    if column is None or _one_conversation(look, column):
        return None
    asked = look.first(*TEXTS["prompt"].names)
    return {"completions": column} | ({"prompt": asked} if asked and asked != column else {})


def _one_conversation(look: Look, column: str) -> bool:
    """Whether it holds the turns of one reply, as TRL writes `completion`: then it is no list of replies."""
    return any(isinstance(item, dict) for value in look.values(column)[:20] if isinstance(value, list) for item in value)


LAYOUT = Layout(
    "generations", "a list of replies a row under `generations` (or `completions`, `responses` …)",
    {"problem": "What is 2 + 2?", "generations": ["4", "It is 4."]}, _roles,
)  # fmt: skip
