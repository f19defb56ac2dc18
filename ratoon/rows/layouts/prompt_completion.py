"""A prompt and its reply, as texts or as lists of turns."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look, named
from ratoon.rows.roles import TEXTS


def _roles(look: Look) -> dict[str, str] | None:
    found = named(look, prompt=TEXTS["prompt"].names, completion=TEXTS["completion"].names)
    return found if found is None or found["prompt"] != found["completion"] else None


LAYOUT = Layout(
    "prompt and completion", "`prompt` and `completion` (or `question`, `problem` … and `response`, `output` …)",
    {"prompt": "What is 2 + 2?", "completion": "4"}, _roles,
)  # fmt: skip
