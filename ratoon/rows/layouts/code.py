"""MBPP and HumanEval: what the program must do, and the program."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look, named


def _roles(look: Look) -> dict[str, str] | None:
    return named(look, prompt=("prompt",), completion=("canonical_solution",)) or named(
        look, prompt=("text", "prompt", "description"), completion=("code",)
    )


LAYOUT = Layout(
    "code", "MBPP's `text` and `code`, HumanEval's `prompt` and `canonical_solution`",
    {"text": "Write a function that adds two numbers.", "code": "def add(a, b):\n    return a + b\n"}, _roles,
)  # fmt: skip
