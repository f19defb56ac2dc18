"""The layouts of users' rows: one layout, one file, one line here; the first that fits is taken."""

from __future__ import annotations

from ratoon.rows.layouts import (
    alpaca,
    code,
    dolly,
    generations,
    messages,
    openmath,
    preference,
    prompt_completion,
    question_answer,
    sharegpt,
    text,
)
from ratoon.rows.layouts.layout import Layout, Look

# In the order in which they are tried: those that only their own columns fit come first.
LAYOUTS: dict[str, Layout] = {
    one.LAYOUT.name: one.LAYOUT
    for one in (
        preference, sharegpt, messages, generations, alpaca, dolly, openmath, code, prompt_completion, question_answer, text
    )
}  # fmt: skip

__all__ = ["LAYOUTS", "Layout", "Look"]
