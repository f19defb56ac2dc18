"""Lone surrogates, which JSON can escape and no UTF-8 can hold: replaced where text from outside comes in; knows no table."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_TOLD = " (lone surrogates replaced)"


def without_surrogates(text: str) -> tuple[str, int]:
    """`text` with U+FFFD for each lone surrogate, and how many there were.

    >>> without_surrogates("7 \\ud800")
    ('7 \ufffd', 1)
    """
    return (text, 0) if text.isascii() else _SURROGATE.subn("\ufffd", text)


def message_without_surrogates(text: str) -> str:
    """A message (an error, a verdict's detail) that says so itself, once, where surrogates were replaced."""
    mended, replaced = without_surrogates(text)
    return mended + _TOLD if replaced else mended
