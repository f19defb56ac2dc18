"""A stranger's values as the audit wants them: texts, truths, numbers, conversations; and ids for rows that have none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.messages import all_text, split_reply, turns_in

_TRUE, _FALSE = (
    {"true", "1", "1.0", "pass", "passed", "correct", "yes"},
    {"false", "0", "0.0", "fail", "failed", "incorrect", "no"},
)


def twice(column: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(column).as_py() < len(column))


def row_ids(rows: pa.Table) -> list[str]:
    """A hash of each row's texts, equal ones numbered: the same in any order of rows."""
    seen: Counter[str] = Counter()
    out = []
    for own, prompt, completion, place in zip(
        *(rows[name].to_pylist() for name in ("row_id", "prompt", "completion", "place")), strict=True
    ):
        what = f"{own or ''}\x1f{prompt or ''}\x1f{completion or ''}" if prompt or completion else f"{own or ''}\x1f\x1f{place}"
        name = blake2b(what.encode(), digest_size=10).hexdigest()
        seen[name] += 1
        out.append(f"row_{name}" + (f"_{seen[name]}" if seen[name] > 1 else ""))
    return out


def task_ids(rows: pa.Table) -> pa.Array:
    """A hash of each prompt; the row's own id where it has none."""
    asked = rows["prompt"].combine_chunks().dictionary_encode()
    names = pa.array(
        [f"task_{blake2b(p.encode(), digest_size=10).hexdigest()}" for p in asked.dictionary.to_pylist()], pa.string()
    )
    found = names.take(asked.indices) if len(names) else pa.nulls(rows.num_rows, pa.string())
    return pc.coalesce(found, rows["row_id"].combine_chunks())


def typed(values: Any, kind: pa.DataType, last: bool) -> pa.Array:
    """A stranger's column as the type that is wanted; what cannot be read so is null."""
    if isinstance(values, pa.Array) and values.type == kind:
        return values
    listed = values.to_pylist() if isinstance(values, pa.Array) else values
    if pa.types.is_string(kind):
        return pa.array([_text(value, last) for value in listed], kind)
    if pa.types.is_boolean(kind):
        return pa.array([_truth(value) for value in listed], kind)
    return pa.array([_number(value, whole=pa.types.is_integer(kind)) for value in listed], kind)


def _text(value: Any, last: bool) -> str | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list) and value and all(isinstance(m, Mapping) for m in value):
        turns = turns_in(value)
        return _text(turns[-1]["content"] if last else all_text(turns), last)
    return _text(json.dumps(value, ensure_ascii=False, default=str), last) if isinstance(value, list | dict) else str(value)


def turns(conversations: Iterable[Any]) -> tuple[list[str | None], list[str | None]]:
    """What was asked, and the last reply, of lists of messages (role and content, or from and value)."""
    parted = [split_reply(turns_in(conversation)) for conversation in conversations]
    return [_text(all_text(asked), False) for asked, _ in parted], [_text(reply, False) for _, reply in parted]


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool) or value is None:
        return value
    said = str(value).strip().lower()
    return True if said in _TRUE else False if said in _FALSE else None


def _number(value: Any, whole: bool) -> Any:
    if value is None or isinstance(value, list | dict):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(found):
        return None
    return int(found) if whole else found
