"""A user's own task source: a function named by an entry point of group `ratoon.task_sources`, or passed in Python.

The function is `f(config: dict, seed: int) -> list of dicts`. A dict holds `prompt` or `messages`, and may hold `answer`,
`verifier`, `verifier_args`, `problem_key`, `level`, `split`, `oracle`, `meta`; verifier and its arguments default to the arm's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field

from ratoon import plugins
from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.generators.tasks.messages import BadRow, answer_text, label_text, messages_of, storable, tools_of
from ratoon.generators.tasks.task_rows import SPLITS, Proposal, failure_row, oracle_row, proposal, task_row, text_key
from ratoon.messages import all_text

GROUP = "ratoon.task_sources"
_FIELDS = {
    "prompt",
    "messages",
    "tools",
    "answer",
    "verifier",
    "verifier_args",
    "problem_key",
    "level",
    "split",
    "oracle",
    "meta",
}
Functions = Mapping[str, Callable[..., Any]]


class EntryConfig(Config):
    """One arm of a task source of one's own."""

    source: Literal["entry"] = Field("entry", description="a task source of one's own")
    name: str = Field("", description="the arm's name, `family` of its tasks; the entry point's name if not set")
    entry: str = Field(description="name of the entry point in group `ratoon.task_sources`, or of a function passed in Python")
    config: dict[str, Any] = Field(default_factory=dict, description="handed to the function as it is")
    verifier: str | None = Field(None, description="the verifier of tasks that name none")
    verifier_args: dict[str, Any] = Field(default_factory=dict, description="its arguments")

    @property
    def family(self) -> str:
        return self.name or self.entry


def propose(config: EntryConfig, seed: int, functions: Functions | None = None) -> Proposal:
    """The function's tasks; an item that cannot be used is a failure.

    Raises DataError when the function raises, returns no list of dicts, or not one item can be used.
    """
    tasks, oracles, failures = [], [], []
    for i, item in enumerate(_call(config, seed, functions)):
        try:
            row = _row(config, item)
            truth = answer_text(item.get("oracle", item.get("answer")))
        except BadRow as error:
            failures.append(failure_row(f"{config.family}/{i}", "BadRow", str(error)))
            continue
        tasks.append(row)
        if truth is not None:
            oracles.append(oracle_row(row, truth))
    if not tasks:
        why = f": {failures[0]['message']}" if failures else ""
        raise DataError(f"task source {config.entry!r} gave no usable task{why}", "return dicts that hold `prompt`")
    return proposal(tasks, oracles, failures)


def version(config: EntryConfig, functions: Functions | None = None) -> str:
    """The digest of the function's source."""
    return plugins.version(plugins.find(GROUP, config.entry, functions or {}))


def versions(config: EntryConfig, functions: Functions | None = None) -> dict[str, str | None]:
    """What decides the tasks beside config and seed."""
    return {f"tasks {config.entry}": version(config, functions)}


def _call(config: EntryConfig, seed: int, functions: Functions | None) -> list[Any]:
    function = plugins.find(GROUP, config.entry, functions or {})
    try:
        items = list(function(dict(config.config), seed))
    except Exception as error:
        raise DataError(
            f"task source {config.entry!r} raised {type(error).__name__}: {error}", "mend it, or the arm's `config`"
        ) from error
    return items


def _row(config: EntryConfig, item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise BadRow(f"a {type(item).__name__}, not a dict")
    if unknown := sorted(set(item) - _FIELDS):
        raise BadRow(f"unknown field {unknown}; known: {', '.join(sorted(_FIELDS))}")
    if item.get("split") not in (None, *SPLITS):
        raise BadRow(f"split {item['split']!r} is none of {', '.join(SPLITS)}")
    messages = messages_of(item.get("prompt"), item.get("messages"))
    tools, args = tools_of(item.get("tools")), item.get("verifier_args")
    level = label_text(item.get("level"), "level")
    storable(item.get("meta"), "meta")
    try:
        return task_row(
            source="entry",
            family=config.family,
            level=level,
            messages=messages,
            tools=tools,
            problem_key=item.get("problem_key") or text_key(all_text(messages) or ""),
            answer=answer_text(item.get("answer")),
            verifier=item.get("verifier") or config.verifier,
            verifier_args=config.verifier_args if args is None else args,
            split=item.get("split"),
            meta=item.get("meta"),
        )
    except (TypeError, ValueError) as error:
        raise BadRow(f"`verifier_args` and `meta` must be dicts of plain JSON: {error}") from None
