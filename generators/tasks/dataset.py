"""Tasks of a data set: whatever ratoon.rows reads; which column holds what is the column map's to say, or the layout's.

A row that cannot be a task (null or blank prompt, invalid UTF-8, a split nobody mapped) is a row of `failures`, never
silently left out; equal rows are one task, the repeats counted. The problem key is the normalised prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ratoon import ids
from ratoon.config import Config, added
from ratoon.errors import DataError, RatoonError
from ratoon.generators.tasks.arguments import own_args
from ratoon.generators.tasks.columns import ColumnMap, Columns, columns
from ratoon.generators.tasks.messages import BadRow, label_text, messages_of, storable, tools_of
from ratoon.generators.tasks.task_rows import Proposal, failure_row, oracle_row, proposal, task_row, text_key
from ratoon.messages import all_text, user
from ratoon.rows import record as records
from ratoon.rows.chunk import Item
from ratoon.rows.golds import GoldRule, NoGold, checked_regex, golds
from ratoon.rows.rows import Rows, is_hub_id, open_rows

Split = Literal["train", "probe", "eval"]


def _usual_splits() -> dict[str, Split]:
    return {"train": "train", "validation": "probe", "probe": "probe", "test": "eval", "eval": "eval"}


class DatasetConfig(Config):
    """One arm of tasks from a data set."""

    source: Literal["dataset"] = Field("dataset", description="this task source")
    name: str = Field("", description="the arm's name, `family` of its tasks; the last part of `path` if not set")
    path: str = Field(min_length=1, description="a file, a folder of files, or a Hugging Face id")
    subset: str | None = Field(None, description="configuration of a Hugging Face data set or of a folder with a card")
    revision: str | None = Field(None, description="commit or tag of a Hugging Face data set")
    hub_splits: tuple[str, ...] = Field(
        ("train",),
        min_length=1,
        description="splits of a Hugging Face data set to read; with several, as with several of a folder, each is mapped by "
        "`splits`",
    )
    columns: ColumnMap = Field(default_factory=lambda: ColumnMap(), description="which column holds what")
    splits: dict[str, Split] = Field(
        default_factory=_usual_splits,
        description="the data set's split names to train, probe and eval",
    )
    answer_after: str | None = added(None, min_length=1, description="the gold is what follows its last such mark, as `####`")
    answer_regex: str | None = added(None, description="the gold is the last match of this, or of its first group")
    boxed: bool = added(False, description="the gold is the content of its last `\\boxed{}`")
    index_into: str | None = added(
        None, description="the gold is the choice in this column that it names by place (from 0) or letter"
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

    @field_validator("answer_regex")
    @classmethod
    def _is_regex(cls, regex: str | None) -> str | None:
        try:
            return None if regex is None else checked_regex(regex)
        except RatoonError as error:
            raise ValueError(str(error)) from None

    @property
    def gold(self) -> GoldRule:
        return GoldRule(self.answer_after, self.answer_regex, self.boxed, self.index_into)

    @property
    def family(self) -> str:
        return self.name or Path(self.path).stem


def propose(config: DatasetConfig, seed: int) -> Proposal:
    """The data set's tasks; bad rows as failures, repeats and what `limit` leaves out as dropped.

    Raises DataError on a missing file or column, a file that holds no rows, a hub that cannot be reached, or when no row can
    be used or at least half of them cannot be read.
    """
    rows = open_rows(config.path, config=config.subset, revision=config.revision)
    mapped = columns(config.columns, config.index_into, rows, config.family)
    tasks, failures = [], []
    for item in _items(config, rows):
        try:
            tasks.append(_row(config, mapped, item))
        except BadRow as error:
            failures.append(failure_row(f"{config.family}/{item.where}", "BadRow", str(error)))
        except RecursionError:
            failures.append(failure_row(f"{config.family}/{item.where}", "BadRow", "a value is nested too deep"))
    rows.reading.check()
    if not tasks and not failures:
        raise DataError(f"{config.path} holds no row", "mend the arm's `path`")
    if not tasks:
        raise DataError(
            f"arm {config.family!r}: none of the {len(failures)} rows of {config.path} can be a task; the first: "
            f"{failures[0]['message']}",
            "mend the file, or the arm's `columns`",
        )
    kept, left_out = _limited(tasks, config.limit, seed)
    oracles = [oracle_row(t, t["answer"]) for t in kept if t["answer"] is not None]
    return proposal(kept, oracles, failures, left_out, [f"{config.family}: {rows.reading.line()}"])


def version(config: DatasetConfig) -> str | None:
    """The sha256 of a local data set's files, by name and content; None on a hub. Raises DataError on a missing file."""
    if is_hub_id(config.path):
        return None
    found = sha256()
    for file in open_rows(config.path, config=config.subset).files:
        with file.path.open("rb") as opened:
            name = "." if file.path == Path(config.path) else file.name
            found.update(f"{name}\x1f{file_digest(opened, 'sha256').hexdigest()}\n".encode())
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


def _items(config: DatasetConfig, rows: Rows) -> Iterator[Item]:
    """The rows, with their split where there are several: one alone says nothing about the side of a task."""
    if rows.hub is None:
        several = len(rows.splits) > 1
        yield from (item if several else item._replace(split=None) for item in rows.items())
        return
    for split in config.hub_splits:
        for item in rows.of_split(split).items():
            yield item if len(config.hub_splits) > 1 else item._replace(split=None)


def _row(config: DatasetConfig, mapped: Columns, item: Item) -> dict[str, Any]:
    if item.problem is not None:
        raise BadRow(item.problem)
    answer, args = _judged_by(config, mapped, item.row)
    question, messages, tools = _asked(config, mapped, item, _options(config, args))
    level = None if config.columns.level is None else label_text(item.row.get(config.columns.level), "level")
    return task_row(
        source="dataset",
        family=config.family,
        level=level,
        messages=messages,
        tools=tools,
        problem_key=text_key(question),
        answer=answer,
        verifier=config.verifier,
        verifier_args=args,
        split=_split(config, item),
        meta={"row": item.where},
    )


def _options(config: DatasetConfig, args: Mapping[str, Any]) -> list[str]:
    """What a choice is between, where the verifier is told; anything else is the gold check's affair."""
    options = args.get("options") if config.verifier == "choice" else None
    return options if isinstance(options, list) and all(isinstance(option, str) for option in options) else []


def _asked(
    config: DatasetConfig, mapped: Columns, item: Item, options: Sequence[str]
) -> tuple[str, list[dict[str, Any]], str | None]:
    """The question, the messages that ask it, and tools; `wording` is around a question that is one text.

    Below it stand the options that its verifier reads letters by, where it does not say them already.
    """
    told, row = config.columns, item.row
    if told.messages is not None:
        messages = messages_of(None, row.get(told.messages) or ())
        return all_text(messages) or "", messages, tools_of(row.get("tools"))
    if mapped.layout:
        turns = records.record(item.where, None, row, mapped.layout).prompt
        messages = messages_of(None if turns else "", turns or None)
        if len(messages) > 1:
            return all_text(messages) or "", messages, tools_of(row.get("tools"))
        question = messages[0]["content"]
    else:
        messages = messages_of(row.get(told.prompt))
        question = records.with_options(messages, options)[0]["content"]
    return question, [user(config.wording.replace("{prompt}", question))], None


def _judged_by(config: DatasetConfig, mapped: Columns, row: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The gold, and the verifier's arguments; golds beside the first are alternatives, of which any will do."""
    try:
        answers = golds(row.get(mapped.answer), row, config.gold) if mapped.answer else []
    except NoGold as error:
        raise BadRow(str(error)) from None
    storable(answers, "answer")
    own = own_args(config.columns.verifier_args, row)
    others = {"alternatives": answers[1:]} if len(answers) > 1 else {}
    return answers[0] if answers else None, config.verifier_args | others | own


def _split(config: DatasetConfig, item: Item) -> str | None:
    name = item.split if config.columns.split is None else item.row.get(config.columns.split)
    if name is None and config.columns.split is None:
        return None
    if not isinstance(name, str) or name not in config.splits:
        raise BadRow(f"split {name!r} is not in the arm's `splits` ({', '.join(config.splits)})")
    return config.splits[name]
