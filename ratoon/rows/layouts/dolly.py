"""Dolly: an instruction, its context (may be empty), and the response."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look, named


def _roles(look: Look) -> dict[str, str] | None:
    return named(look, prompt=("instruction",), input=("context",), completion=("response", "output", "completion"))


LAYOUT = Layout(
    "Dolly", "`instruction`, `context` (asked below it) and `response`",
    {"instruction": "Add the numbers.", "context": "2 and 2", "response": "4", "category": "math"}, _roles,
)  # fmt: skip
