"""Verdicts beside the right ones that a file of labelled replies gives: a contract test for any verifier; prints nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.metrics.verifiers.judge_reply import judge_items
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import STATUSES, Verdict

_FORM = '{"reply": "\\\\boxed{7}", "answer": "7", "verifier": "math", "args": {}, "right": "pass"}'


class Labelled(Config):
    """One row: a reply, what judges it against which gold, and the right verdict."""

    reply: str = Field(description="the reply's text")
    answer: str | None = Field(None, description="the gold answer")
    verifier: str = Field("math", description="a verifier's name")
    args: dict[str, Any] = Field({}, description="its arguments")
    right: Literal["pass", "fail", "abstain", "error"] = Field(
        description="the right verdict; true and false are pass and fail"
    )


class Checked(NamedTuple):
    """A labelled row and its verdict; `place` is `file:line`."""

    place: str
    row: Labelled
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        """Whether the verdict is the right one."""
        return self.verdict.status == self.row.right


def read(path: Path) -> tuple[list[tuple[str, Labelled]], int]:
    """The labelled rows of a JSONL file with their places, and how many lines have no `reply`. Raises DataError."""
    found, without = [], 0
    for place, values in _lines(path):
        if "reply" not in values:
            without += 1
            continue
        known = {name: values[name] for name in Labelled.model_fields if name in values}
        if isinstance(known.get("right"), bool):
            known["right"] = "pass" if known["right"] else "fail"
        try:
            found.append((place, Labelled.model_validate(known)))
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}", f"a row looks like {_FORM}"
            ) from None
    if not found:
        raise DataError(f"{path} holds no row with a reply", f"a row looks like {_FORM}")
    return found, without


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", "give a JSONL file in UTF-8") from None
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{i} is no JSON: {error}", f"a row looks like {_FORM}") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}:{i} is no object", f"a row looks like {_FORM}")
        yield f"{path.name}:{i}", values


def check(rows: Sequence[tuple[str, Labelled]], pool: VerifierPool) -> list[Checked]:
    """Each row with its verdict, in order. Raises UsageError for an unknown verifier."""
    verdicts = judge_items([Item(row.verifier, row.reply, row.answer, row.args) for _, row in rows], pool)
    return [Checked(place, row, verdict) for (place, row), verdict in zip(rows, verdicts, strict=True)]


def confusion(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """Per verifier and right verdict how many got which, by name."""
    counts = Counter((one.row.verifier, one.row.right, one.verdict.status) for one in checked)
    pairs = sorted({(name, right) for name, right, _ in counts}, key=lambda pair: (pair[0], STATUSES.index(pair[1])))
    return [
        {"verifier": name, "right": right} | {status: counts[name, right, status] for status in STATUSES}
        for name, right in pairs
    ]
