"""Tasks of a data set: a Hugging Face id, or local Parquet, JSONL or CSV; knows columns only by the column map.

A row that cannot be a task (null or blank prompt, invalid UTF-8, a split nobody mapped) is a row of `failures`, never
silently left out; equal rows are one task, the repeats counted. The problem key is the normalised prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import DataError, MissingExtra
from ratoon.generators.tasks.files import SUFFIXES, Item, columns_of, read_file
from ratoon.generators.tasks.messages import BadRow, answer_text, messages_of, tools_of
from ratoon.generators.tasks.task_rows import Proposal, failure_row, oracle_row, proposal, task_row, text_key
from ratoon.messages import all_text, user

Split = Literal["train", "probe", "eval"]


def _usual_splits() -> dict[str, Split]:
    return {"train": "train", "validation": "probe", "probe": "probe", "test": "eval", "eval": "eval"}


class ColumnMap(Config):
    """Which column holds what."""

    prompt: str = Field("prompt", description="the question; not read where `messages` is set")
    messages: str | None = Field(None, description="messages, the user's turn last; column `tools` is read with them")
    answer: str = Field("answer", description="the gold answer; empty text for a data set without answers")
    split: str | None = Field(None, description="which side a row is on, read through `splits`")
    level: str | None = Field(None, description="level of difficulty")
    verifier_args: str | None = Field(
        None, description="the verifier's arguments of a row, an object or its JSON; they win over the arm's"
    )


class DatasetConfig(Config):
    """One arm of tasks from a data set."""

    source: Literal["dataset"] = Field("dataset", description="this task source")
    name: str = Field("", description="the arm's name, `family` of its tasks; the last part of `path` if not set")
    path: str = Field(min_length=1, description="a file (.parquet, .jsonl, .csv), a folder of such files, or a Hugging Face id")
    subset: str | None = Field(None, description="configuration of a Hugging Face data set")
    revision: str | None = Field(None, description="commit or tag of a Hugging Face data set")
    hub_splits: tuple[str, ...] = Field(
        ("train",),
        min_length=1,
        description="splits of a Hugging Face data set to read; with several each is mapped by `splits`",
    )
    columns: ColumnMap = Field(default_factory=lambda: ColumnMap(), description="which column holds what")
    splits: dict[str, Split] = Field(
        default_factory=_usual_splits,
        description="the data set's split names to train, probe and eval",
    )
    wording: str = Field("{prompt}", description="the prompt, with {prompt} in it; not applied to `messages`")
    verifier: str | None = Field("exact", description="the verifier of these tasks; none if not set and without answers")
    verifier_args: dict[str, Any] = Field(default_factory=dict, description="the verifier's arguments")
    limit: int | None = Field(
        None, ge=1, description="at most so many tasks, picked by hash; the others are counted as dropped"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_verifier_without_answers(cls, tree: Any) -> Any:
        """Here and not where tasks are made, so that the resolved recipe says it."""
        columns = tree.get("columns") if isinstance(tree, dict) else None
        if isinstance(columns, dict) and columns.get("answer") == "" and "verifier" not in tree:
            return {**tree, "verifier": None}
        return tree

    @field_validator("wording")
    @classmethod
    def _has_prompt(cls, wording: str) -> str:
        if "{prompt}" not in wording:
            raise ValueError("must hold {prompt}")
        return wording

    @property
    def family(self) -> str:
        return self.name or Path(self.path).stem


def propose(config: DatasetConfig, seed: int) -> Proposal:
    """The data set's tasks; bad rows as failures, repeats and what `limit` leaves out as dropped.

    Raises DataError on a missing file or column, a file that holds no rows, a hub that cannot be reached, or when no row can
    be used.
    """
    tasks, failures = [], []
    for item in _items(config):
        try:
            tasks.append(_row(config, item))
        except BadRow as error:
            failures.append(failure_row(f"{config.family}/{item.where}", "BadRow", str(error)))
    if not tasks:
        raise DataError(
            f"arm {config.family!r}: none of the {len(failures)} rows of {config.path} can be a task; the first: "
            f"{failures[0]['message'] if failures else 'there is no row'}",
            "mend the file, or the arm's `columns`",
        )
    kept, left_out = _limited(tasks, config.limit, seed)
    return proposal(kept, [oracle_row(t, t["answer"]) for t in kept if t["answer"] is not None], failures, left_out)


def version(config: DatasetConfig) -> str | None:
    """The sha256 of a local data set's files, by name and content; None on a hub. Raises DataError on a missing file."""
    files = _files(config)
    if files is None:
        return None
    found = sha256()
    for file in files:
        with file.open("rb") as opened:
            found.update(f"{file.relative_to(config.path)}\x1f{file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def versions(config: DatasetConfig) -> dict[str, str | None]:
    """What decides the tasks beside config and seed."""
    return {f"data {config.family}": version(config)}


def _limited(tasks: list[dict[str, Any]], limit: int | None, seed: int) -> tuple[list[dict[str, Any]], int]:
    """At most `limit` tasks, in their order in the data, and how many rows that leaves out."""
    chosen = {task["task_id"] for task in tasks}
    if limit is not None and len(chosen) > limit:
        chosen = set(sorted(chosen, key=lambda task_id: ids.derive_seed(seed, "dataset/limit", task_id))[:limit])
    kept = [task for task in tasks if task["task_id"] in chosen]
    return kept, len(tasks) - len(kept)


def _row(config: DatasetConfig, item: Item) -> dict[str, Any]:
    if item.problem is not None:
        raise BadRow(item.problem)
    columns, value, tools = config.columns, item.row, None
    if columns.messages is not None:
        messages, tools = messages_of(None, value.get(columns.messages) or ()), tools_of(value.get("tools"))
        question = all_text(messages) or ""
    else:
        question = messages_of(value.get(columns.prompt))[0]["content"]
        messages = [user(config.wording.replace("{prompt}", question))]
    level = None if columns.level is None else value.get(columns.level)
    return task_row(
        source="dataset",
        family=config.family,
        level=None if level is None else str(level),
        messages=messages,
        tools=tools,
        problem_key=text_key(question),
        answer=answer_text(value.get(columns.answer)) if columns.answer else None,
        verifier=config.verifier,
        verifier_args=config.verifier_args | _own_args(value.get(columns.verifier_args) if columns.verifier_args else None),
        split=_split(config, item),
        meta={"row": item.where},
    )


def _own_args(value: object) -> dict[str, Any]:
    """A row's arguments; Parquet fills the fields a row has not with null, which is not said here."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRow("verifier_args is no JSON") from None
    if value is not None and not isinstance(value, dict):
        raise BadRow("verifier_args is no object")
    return {name: item for name, item in (value or {}).items() if item is not None}


def _split(config: DatasetConfig, item: Item) -> str | None:
    name = item.split if config.columns.split is None else item.row.get(config.columns.split)
    if name is None and config.columns.split is None:
        return None
    if name not in config.splits:
        raise BadRow(f"split {name!r} is not in the arm's `splits` ({', '.join(config.splits)})")
    return config.splits[name]


def _files(config: DatasetConfig) -> list[Path] | None:
    """The local files that `path` names, in order; None where it is a hub's id."""
    path = Path(config.path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
        if not files:
            raise DataError(f"{path} holds no file of type {', '.join(SUFFIXES)}", "mend the arm's `path`")
        return files
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise DataError(f"there is no file {path}", "mend the arm's `path`; it is read relative to where ratoon is run")
        return [path]
    return None


def _items(config: DatasetConfig) -> Iterator[Item]:
    files = _files(config)
    if files is None:
        yield from _hub(config)
        return
    for file in files:
        _check_columns(config, columns_of(file), str(file))
        yield from read_file(file)


def _check_columns(config: DatasetConfig, found: list[str], where: str) -> None:
    mapped = config.columns
    wanted = (mapped.messages or mapped.prompt, mapped.answer, mapped.split, mapped.level, mapped.verifier_args)
    absent = [name for name in wanted if name and name not in found]
    if absent:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, absent))}; its columns are {', '.join(found) or 'none'}",
            f'map them in `columns` of arm {config.family!r}; answer = "" where there are none',
        )


def _hub(config: DatasetConfig) -> Iterator[Item]:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "tasks") from None
    for split in config.hub_splits:
        try:
            loaded = datasets.load_dataset(config.path, config.subset, split=split, revision=config.revision)
        except Exception as error:
            raise DataError(
                f"cannot load split {split!r} of {config.path!r}: {type(error).__name__}: {error}",
                f"it is no file of type {', '.join(SUFFIXES)}, so it was looked for on the Hugging Face hub: "
                "check path, subset, hub_splits and the network, or give a local file",
            ) from error
        _check_columns(config, loaded.column_names, f"{config.path} ({split})")
        for i, row in enumerate(loaded):
            yield Item(f"{split}:{i}", row, split if len(config.hub_splits) > 1 else None)
