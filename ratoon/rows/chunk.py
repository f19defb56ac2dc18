"""Rows as they come from one file, some thousand at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

CHUNK = 4096


class Item(NamedTuple):
    """A row, where it stood, the split it came from, and why it cannot be read (then the row is empty)."""

    where: str
    row: dict[str, Any]
    split: str | None = None
    problem: str | None = None


class Chunk(NamedTuple):
    """Rows with the place of each (`file:line`), and place and reason of those that cannot be read."""

    places: list[str]
    rows: list[dict[str, Any]]
    problems: list[tuple[str, str]]
