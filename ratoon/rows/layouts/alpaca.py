"""Alpaca: an instruction, what it speaks of (may be empty), and the output."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look, named


def _roles(look: Look) -> dict[str, str] | None:
    return named(look, prompt=("instruction",), input=("input",), completion=("output", "response", "completion"))


LAYOUT = Layout(
    "Alpaca", "`instruction`, `input` (asked below it) and `output`",
    {"instruction": "Add the numbers.", "input": "2 and 2", "output": "4"}, _roles,
)  # fmt: skip
