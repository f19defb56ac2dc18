"""What a layout is: a name, the smallest example, and which column has which role where it is this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ratoon.rows.turns import turns, unpacked


class Look:
    """The columns of a file under their names in small letters, and some values of each."""

    def __init__(self, columns: Sequence[str], head: Sequence[Mapping[str, Any]]) -> None:
        self.columns, self.head = list(columns), head
        self.names = {name.lower(): name for name in reversed(columns)}

    def first(self, *names: str) -> str | None:
        """The first of these columns that is there."""
        return next((self.names[name] for name in names if name in self.names), None)

    def values(self, column: str) -> list[Any]:
        """The values of a column among the first rows that are there."""
        return [row[column] for row in self.head if row.get(column) not in (None, "")]

    def chat(self, column: str) -> bool:
        """Whether the column holds conversations."""
        values = self.values(column)
        return bool(values) and all(turns(value) is not None for value in values[:20])

    def text(self, column: str) -> bool:
        """Whether the column holds texts, or lists of texts or turns."""
        return any(isinstance(value, str | list | dict) for value in self.values(column)[:20])

    def replies(self, column: str) -> bool:
        """Whether the column holds lists of replies: of texts, or of conversations."""
        values = [unpacked(value) if isinstance(value, str) else value for value in self.values(column)[:20]]
        lists = [value for value in values if isinstance(value, list)]
        return bool(lists) and len(lists) == len(values) and all(isinstance(v, str | list) for value in lists for v in value)


class Layout(NamedTuple):
    """`roles(look)` is the column of each role that carries text, or None where the file has another layout."""

    name: str
    help: str
    example: Mapping[str, Any]
    roles: Callable[[Look], dict[str, str] | None]


def named(look: Look, **roles: Sequence[str]) -> dict[str, str] | None:
    """The first column of each role's names; None where a role has none."""
    found = {role: look.first(*names) for role, names in roles.items()}
    return None if None in found.values() else {role: name for role, name in found.items() if name is not None}
