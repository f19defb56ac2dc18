"""Which rows of two files changed, and in what: every column counts, whatever the layouts.

Rows are paired by id where both sides have unlike ones, then by what is left: all of it equal, prompt and reply, prompt,
reply. A row that finds no partner was added or removed, which is counted elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from ratoon import ids
from ratoon.rows import labels
from ratoon.rows import record as records
from ratoon.rows.record import Record
from ratoon.rows.rows import open_rows
from ratoon.rows.turns import said, unpacked

_TEXTS = ("messages", "system", "prompt", "input", "options", "completion", "completions", "rejected", "answer")
_CALLS = ("tool_calls", "tool_call_id")


class RowChanges(NamedTuple):
    """How many rows changed, in how many each column did, and in how many it is one value spelled otherwise (1 and 1.0)."""

    changed: int
    columns: dict[str, int]
    spelled: dict[str, int]


class _Row(NamedTuple):
    """Digests: of each cell (its value, its spelling), of all values, and what rows are paired by."""

    cells: dict[str, tuple[bytes, bytes]]
    whole: bytes
    id: str | None
    prompt: bytes
    reply: bytes


def row_changes(old: Path, new: Path, asked: Mapping[str, str]) -> RowChanges:
    """The changes from `old` to `new`, files or folders. Raises DataError for what cannot be read."""
    named = [records.columns(open_rows(path), asked) for path in (old, new)]
    apart = all("input" in columns for columns in named)  # else prompt and input are one on a side
    a, b = (list(_rows(path, columns, apart)) for path, columns in zip((old, new), named, strict=True))
    columns, spelled, changed = Counter[str](), Counter[str](), 0
    for was, now in _pairs(a, b):
        names = sorted({*was.cells, *now.cells})
        values = [name for name in names if was.cells.get(name, _NONE)[0] != now.cells.get(name, _NONE)[0]]
        changed += bool(values)
        columns.update(values)
        spelled.update(
            name for name in names
            if name not in values and was.cells.get(name, _NONE)[1] != now.cells.get(name, _NONE)[1]
        )  # fmt: skip
    return RowChanges(changed, dict(columns.most_common()), dict(spelled.most_common()))


def _pairs(a: list[_Row], b: list[_Row]) -> Iterator[tuple[_Row, _Row]]:
    keys: tuple[Callable[[_Row], Hashable], ...] = (
        lambda row: row.whole, lambda row: (row.prompt, row.reply), lambda row: row.prompt, lambda row: row.reply
    )  # fmt: skip
    if _named(a) and _named(b):
        keys = (lambda row: row.id, *keys)
    for key in keys:
        waiting: dict[Hashable, list[_Row]] = defaultdict(list)
        for row in sorted(b, key=lambda row: row.whole, reverse=True):
            waiting[key(row)].append(row)
        alone = []
        for row in sorted(a, key=lambda row: row.whole):
            if partners := waiting[key(row)]:
                yield row, partners.pop()
            else:
                alone.append(row)
        a, b = alone, [row for rows in waiting.values() for row in rows]


def _named(rows: Sequence[_Row]) -> bool:
    """Whether every row has an id of its own."""
    names = {row.id for row in rows}
    return bool(rows) and None not in names and len(names) == len(rows)


def _rows(path: Path, columns: Mapping[str, str], apart: bool) -> Iterator[_Row]:
    opened = open_rows(path)
    used = {part for name in columns.values() for part in (name, *name.split("+"))}
    for item in opened.items():
        if item.problem is not None:
            continue
        one = records.record(item.where, item.split, item.row, columns)
        values = _of_record(one) | {name: value for name, value in item.row.items() if name not in used}
        if apart:
            bare = records.record("", None, item.row, {r: n for r, n in columns.items() if r != "input"})
            values |= {"prompt": [said(turn) for turn in bare.prompt], "input": item.row.get(columns["input"])}
        cells = {name: (_digest(_plain(value)), _digest(value)) for name, value in values.items()}
        cells = {name: cell for name, cell in cells.items() if cell != _NONE}
        whole = _digest(sorted((name, value.hex()) for name, (value, _) in cells.items() if value != _NONE[0]))
        id_ = one.facts.get("id")
        prompt, reply = _digest([_turns(one.prompt)]), _digest([_turns(reply) for reply in one.replies])
        yield _Row(cells, whole, None if id_ is None else str(id_), prompt, reply)
    opened.reading.check()


def _of_record(one: Record) -> dict[str, Any]:
    """What a record says, by role; its turns' texts and their tool calls apart."""
    everything = [*one.prompt, *(turn for reply in one.replies for turn in reply)]
    facts = {name: labels.truth(value) if name == "label" else value for name, value in one.facts.items()}
    told: dict[str, Any] = {
        "prompt": [[turn["role"], turn.get("content")] for turn in one.prompt],
        "completion": [[turn.get("content") for turn in reply] for reply in one.replies],
        "tool calls": [[turn.get(name) for name in _CALLS] for turn in everything if any(turn.get(n) for n in _CALLS)],
        "reasoning": [turn["reasoning"] for turn in everything if turn.get("reasoning")],
        "rejected": _turns(one.rejected), "answer": one.answers, "options": one.options,
    }  # fmt: skip
    return told | facts


def _turns(turns: Sequence[Mapping[str, Any]]) -> list[str | None]:
    return [said(turn) for turn in turns]


def _plain(value: Any) -> Any:
    """A value without its spelling: what is empty is null, numbers are numbers in any form, JSON text is what it says."""
    if isinstance(value, str):
        inside = unpacked(value)
        return _plain(inside) if inside is not None else _number(value) if value.strip() else None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Mapping):
        inside = {str(name): _plain(item) for name, item in value.items()}
        return {name: item for name, item in inside.items() if item is not None} or None
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items if any(item is not None for item in items) else None
    return _number(str(value.isoformat() if isinstance(value, datetime | date | time) else value))


def _number(text: str) -> str | None:
    """The shortest form of a number; else the text itself. NaN is null."""
    try:
        number = float(text)
    except ValueError:
        return text
    if math.isnan(number):
        return None
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _digest(value: Any) -> bytes:
    text = ids.canonical_json(value) if _is_json(value) else repr(value)
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _is_json(value: Any) -> bool:
    """Whether canonical JSON keeps it: not NaN, and nothing JSON lacks."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool | int)


_NONE = _digest(None), _digest(None)
