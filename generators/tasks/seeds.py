"""Seed tasks written by people, that show a proposer what a task looks like; ratoon brings 96 of 12 kinds.

One JSON object per line: `kind`, `instruction`, `input` (may be empty), `output` (an example of a good answer). The task is the
instruction with its input; it has no gold and no verifier, its output is only shown to proposers. Seeds are training tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.generators.tasks.messages import BadRow, messages_of
from ratoon.generators.tasks.task_rows import Proposal, failure_row, proposal, task_row, text_key
from ratoon.rows.chunk import Item
from ratoon.rows.rows import open_rows

PACKAGED = Path(__file__).with_name("seeds.jsonl")
_FIELDS = ("kind", "instruction", "input", "output")


class SeedsConfig(Config):
    """One arm of seed tasks."""

    source: Literal["seeds"] = Field("seeds", description="seed tasks for proposers")
    name: str = Field("", description="the arm's name, `family` of its tasks; `seeds` if not set")
    path: str | None = Field(None, description="a .jsonl file of your own seed tasks; absent: the 96 that come with ratoon")
    kinds: tuple[str, ...] = Field((), description="only seeds of these kinds; none named takes all")

    @property
    def family(self) -> str:
        return self.name or "seeds"


def propose(config: SeedsConfig, seed: int) -> Proposal:
    """The seed tasks, split train; a line that is none is a failure. Raises DataError where no line can be used."""
    tasks, failures = [], []
    found: set[str] = set()
    for item in _items(config):
        try:
            row, kind = _row(config, item)
        except BadRow as error:
            failures.append(failure_row(f"{config.family}/{item.where}", "BadRow", str(error)))
            continue
        found.add(kind)
        if not config.kinds or kind in config.kinds:
            tasks.append(row)
    if unknown := sorted(set(config.kinds) - found):
        raise DataError(f"no seed task is of kind {unknown[0]!r}", f"kinds: {', '.join(sorted(found)) or 'none'}")
    if not tasks:
        why = f": {failures[0]['message']}" if failures else ""
        raise DataError(f"no line of {config.path or PACKAGED.name} is a seed task{why}", f"give {', '.join(_FIELDS)}")
    return proposal(tasks, (), failures)


def version(config: SeedsConfig) -> str:
    """The digest of the file: edited seeds are other tasks."""
    with _path(config).open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def versions(config: SeedsConfig) -> dict[str, str | None]:
    """What decides the tasks beside config and seed."""
    return {f"seeds {config.family}": version(config)}


def verifiers(config: SeedsConfig) -> tuple[str, ...]:
    """None: seeds have no gold."""
    return ()


def task_text(instruction: str, input: str) -> str:
    """A task as it is asked: the instruction, and its input below it."""
    return f"{instruction}\n\n{input}" if input else instruction


def _path(config: SeedsConfig) -> Path:
    path = Path(config.path) if config.path is not None else PACKAGED
    if not path.is_file() or path.suffix != ".jsonl":
        raise DataError(f"there is no .jsonl file {path}", "mend the arm's `path`; it is read relative to where ratoon is run")
    return path


def _items(config: SeedsConfig) -> Iterator[Item]:
    return open_rows(_path(config)).items()


def _row(config: SeedsConfig, item: Item) -> tuple[dict[str, Any], str]:
    if item.problem is not None:
        raise BadRow(item.problem)
    if unknown := sorted(set(item.row) - set(_FIELDS)):
        raise BadRow(f"unknown field {unknown}; known: {', '.join(_FIELDS)}")
    told = {name: _text(item.row.get(name), name) for name in _FIELDS}
    if not told["kind"] or not told["instruction"]:
        raise BadRow("`kind` and `instruction` must say something")
    text = task_text(told["instruction"], told["input"])
    row = task_row(
        source="seeds", family=config.family, messages=messages_of(text), problem_key=text_key(text), answer=None,
        verifier=None, verifier_args={}, split="train", meta=told,
    )  # fmt: skip
    return row, told["kind"]


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(f"`{name}` is a {type(value).__name__}, not a text")
    return value.strip()
