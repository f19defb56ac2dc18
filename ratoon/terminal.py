"""Text that a model wrote, made safe to print; knows no table and no console."""

from __future__ import annotations

import re

from ratoon.surrogates import without_surrogates

# ANSI control sequences (CSI, OSC and other strings, two-byte escapes), whole or cut short.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b.?"
)
# C0 but for tab and newline, DEL, C1, direction marks and overrides, line separators, byte order mark, invisible tags.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


def escaped(json: str) -> str:
    """JSON whose strings spell as escapes what `plain` would strip: the same value, and safe to print.

    >>> escaped('{"a": "\x9b2J"}')
    '{"a": "\\u009b2J"}'
    """
    return _CONTROLS.sub(_escape, without_surrogates(json)[0])


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def plain(text: str) -> str:
    """`text` without anything that moves the cursor, colours, hides or reorders; tabs and newlines stay.

    >>> plain("\\x1b[31mred\\x1b[0m\\r\\n")
    'red\\n'
    """
    return without_surrogates(_CONTROLS.sub("", _ESCAPES.sub("", text)))[0]
