"""Which column of a data set is the question and which the gold: those the arm names, or else those of the rows' layout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.rows import record as records
from ratoon.rows.rows import Rows

_PROMPT, _ANSWER = "prompt", "answer"
# What a layout may say of the question; a system message is the recipe's.
_ASKED = ("messages", "prompt", "input", "options", "completion", "completions", "rejected")


class ColumnMap(Config):
    """Which column holds what."""

    prompt: str = Field(
        _PROMPT, description="the question, where `messages` is not set; where no column is called so, what the layout says"
    )
    messages: str | None = Field(None, description="messages, the user's turn last; column `tools` is read with them")
    answer: str = Field(
        _ANSWER, description="the gold answer, or a list of which any will do; empty text for a data set without answers"
    )
    split: str | None = Field(None, description="which side a row is on, read through `splits`")
    level: str | None = Field(None, description="level of difficulty")
    verifier_args: str | dict[str, str | tuple[str, ...]] | None = Field(
        None,
        description="the verifier's arguments of a row, which win over the arm's: a column of objects or their JSON, or a "
        "table of argument = column (or = a list of columns, whose values make one list)",
    )

    @property
    def arguments(self) -> list[str]:
        """The columns of the verifier's arguments."""
        named = self.verifier_args.values() if isinstance(self.verifier_args, dict) else [self.verifier_args or ()]
        return [name for one in named for name in ([one] if isinstance(one, str) else one)]


class Columns(NamedTuple):
    """The columns by role that a layout names for the question (none where the arm names it), and that of the gold."""

    layout: dict[str, str]
    answer: str | None


def columns(told: ColumnMap, index_into: str | None, rows: Rows, family: str) -> Columns:
    """What is read of these rows, told in `rows.reading` too. Raises DataError where a column is not there."""
    names, layout = rows.columns(), dict[str, str]()
    by_layout = records.columns(rows)
    if told.messages is None and told.prompt == _PROMPT and _PROMPT not in names:
        layout = {role: name for role, name in by_layout.items() if role in _ASKED}
        layout = layout if layout.keys() & {"messages", "prompt"} else {}
    answer = told.answer or None
    if answer == _ANSWER and _ANSWER not in names:
        answer = by_layout.get("answer", _ANSWER)
    question = {} if layout else {"messages": told.messages} if told.messages else {"prompt": told.prompt}
    named = question | {"answer": answer, "split": told.split, "level": told.level, "options": index_into}
    used = {role: name for role, name in named.items() if name}
    _check([*used.values(), *told.arguments], names, rows.name, family)
    asked = {role: name for role, name in layout.items() if role in ("messages", "prompt", "input", "options")}
    records.tell(rows, asked | used, rows.reading.layout if layout else None, told.arguments)
    return Columns(layout, answer)


def _check(wanted: Iterable[str], names: list[str], where: str, family: str) -> None:
    absent = [name for name in dict.fromkeys(wanted) if name not in names]
    if absent:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, absent))}; its columns are {', '.join(names) or 'none'}",
            f'map them in `columns` of arm {family!r}; answer = "" where there are none',
        )
