"""HTML out of plain Python values, where a text can never become markup; knows no report.

Every child that is a `str` is escaped; only what `el` itself made is taken as it is. Texts that a model wrote are moreover made
visible: control characters, escape sequences and direction marks are shown by their names and do nothing.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

_VOID = frozenset({"meta", "input", "br", "col", "link"})
_C0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
_NAMES = {
    **dict(enumerate(_C0.split())), 0x7F: "DEL", 0x9B: "CSI", 0x9D: "OSC", 0x061C: "ALM", 0x200B: "ZWSP", 0x200E: "LRM",
    0x200F: "RLM", 0x2028: "LSEP", 0x2029: "PSEP", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xFEFF: "BOM",
}  # fmt: skip
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"
)
# What could end a script element or a JavaScript line; the escapes mean the same to JSON.parse.
_SCRIPT_UNSAFE = {mark: f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


class Markup(str):
    """HTML that `el` made; the only strings that are not escaped."""

    __slots__ = ()


def visible(text: str) -> str:
    """`text` with whatever moves, colours, hides or reorders shown by its name; tabs and newlines stay.

    >>> visible("\\x1b[31mred\\u202eder")
    '⟨ESC⟩[31mred⟨RLO⟩der'
    """
    return _UNSEEN.sub(lambda found: f"⟨{_NAMES.get(ord(found[0]), f'U+{ord(found[0]):04X}')}⟩", text)


def el(tag: str, *children: str | None, **attributes: str | int | bool | None) -> Markup:
    """One element. Attributes: `class_` is class, `data_x` is data-x; None and False leave one out, True gives it no value."""
    opening = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    if tag in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{tag}>")


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    shown = name.rstrip("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{escape(visible(str(value)))}"'


def join(*children: str | None) -> Markup:
    """Children side by side: markup as it is, text made visible and escaped, None left out."""
    return Markup("".join(c if isinstance(c, Markup) else escape(visible(c)) for c in children if c is not None))


def island(name: str, value: Any) -> Markup:
    """`value` as JSON that the page's script reads by id: data, which no browser runs and no text can leave."""
    return Markup(f'<script type="application/json" id="{escape(name)}">{json_text(value)}</script>')


def json_text(value: Any) -> str:
    """JSON without the characters that mean something to HTML; NaN and infinities, which JSON lacks, raise ValueError."""
    packed = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for mark, escaped in _SCRIPT_UNSAFE.items():  # `str.translate` takes a second for a few megabytes
        packed = packed.replace(mark, escaped)
    return packed


def seen(value: Any) -> Any:
    """Every text inside nested lists and dicts made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    return [seen(item) for item in value] if isinstance(value, list | tuple) else value
