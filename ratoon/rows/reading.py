"""What was read of a user's files and what was not: the reading report that every command tells in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratoon.errors import DataError

WARN_FROM, STOP_FROM = 0.01, 0.5  # shares of unreadable rows


@dataclass
class Reading:
    """Files read and left out (name to reason), rows, the unreadable, layout, columns by role, and what nobody looked at.

    `ambiguous` holds sentences on what could be read in two ways, `notes` on how files were decoded.
    """

    name: str
    files: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    unreadable: int = 0
    first_unreadable: str | None = None
    layout: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    not_looked_at: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    split: str | None = None
    configs: list[str] = field(default_factory=list)
    config: str | None = None
    ambiguous: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_unreadable(self, where: str, why: str) -> None:
        """Count a row that cannot be read; the first one is told."""
        self.unreadable += 1
        self.first_unreadable = self.first_unreadable or f"{where}: {why}"

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def unreadable_share(self) -> float:
        """The share of rows that could not be read, 0 to 1; 0 where there is no row."""
        total = self.rows + self.unreadable
        return self.unreadable / total if total else 0.0

    def check(self) -> None:
        """Raises DataError where at least half of the rows could not be read."""
        if self.unreadable and self.unreadable_share >= STOP_FROM:
            total = self.rows + self.unreadable
            raise DataError(
                f"{self.name}: {self.unreadable} of {total} rows could not be read, the first {self.first_unreadable}",
                "mend the file; less than half of its rows would be looked at",
            )

    def line(self) -> str:
        """The report in one line."""
        parts = [f"{self.rows:,} rows of {_files(self.files)}"]
        if self.config is not None:
            others = [name for name in self.configs if name != self.config]
            parts.append(f"config {self.config}" + (f" (not read: {', '.join(others)})" if others else ""))
        if self.split is not None:
            others = [name for name in self.splits if name != self.split]
            parts.append(f"split {self.split}" + (f" (others: {', '.join(others)})" if others else ""))
        elif len(self.splits) > 1:
            parts.append(f"splits {', '.join(self.splits)}")
        parts += [f"layout {self.layout}"] if self.layout else []
        parts += [_columns(self.columns)] if self.columns else []
        parts += [f"text not looked at: {_some(self.not_looked_at)}"] if self.not_looked_at else []
        if self.unreadable:
            parts.append(f"{self.unreadable} rows could not be read, the first {self.first_unreadable}")
        if self.left_out:
            parts.append(f"left out: {_some([f'{name} ({why})' for name, why in self.left_out.items()])}")
        return "; ".join([*parts, *self.ambiguous, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return dict(vars(self))


def _columns(columns: Mapping[str, str]) -> str:
    return ", ".join(role if role == name else f"{role} = {name}" for role, name in columns.items())


def _files(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} files"


def _some(names: list[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
