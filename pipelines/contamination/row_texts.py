"""Every text of a row, whatever its layout: each turn, each item of a list, and what stands together joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ratoon.rows.record import record
from ratoon.rows.turns import said, turns, unpacked

# Words of a format and names of things: no text anybody learns.
_NAMES = {"role", "from", "type", "id", "tool_call_id", "finish_reason"}


class Text(NamedTuple):
    """A text by column: its pieces (turns, items of a list), which are compared one by one, and all of them joined."""

    column: str
    pieces: list[str]


def texts_of(row: Mapping[str, Any], roles: Mapping[str, str]) -> list[Text]:
    """The texts of a row; `roles` are the columns of its layout: a prompt with its input is one text more."""
    found = [text for name, value in row.items() for text in _texts(name, value)]
    if "input" in roles and "prompt" in roles:
        asked = record("", None, row, roles).asked
        found += [Text(f"{roles['prompt']} with {roles['input']}", [asked])] if asked else []
    return found


def without_text(row: Mapping[str, Any]) -> list[str]:
    """The columns of a row that hold something and no text."""
    return [name for name, value in row.items() if value is not None and not any(True for _ in _texts(name, value))]


def _texts(name: str, value: Any) -> Iterator[Text]:
    if isinstance(value, str):
        inside = unpacked(value)
        conversation = turns(value, chat=False) if inside is not None or "\n\nHuman:" in f"\n\n{value[:40]}" else None
        if conversation is None and inside is not None:
            yield from _texts(name, inside)
        if conversation is None and value.strip():
            yield Text(name, [value])
    else:
        conversation = turns(value, chat=False) if isinstance(value, list | Mapping) else None
        if conversation is None:
            yield from _nested(name, value)
    if conversation is not None:
        pieces = [text for text in map(said, conversation) if text and text.strip()]
        yield from [Text(name, pieces)] if pieces else []


def _nested(name: str, value: Any) -> Iterator[Text]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _NAMES:
                yield from _texts(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        texts = [item for item in value if isinstance(item, str) and item.strip()]
        if texts:
            yield Text(name, texts)
        for item in value:
            if not isinstance(item, str):
                yield from _texts(name, item)
