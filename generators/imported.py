"""Rollouts made elsewhere, read from a file: one `Row` per usable line, a reason for every other; knows no run and no table.

A row is a prompt and a completion; what else is known of it (gold, verdict, token ids, policy, sampling) may come along and is
null where it does not. Nothing is guessed but the spelling of finish reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ratoon.errors import DataError
from ratoon.generators.tasks.arguments import own_args
from ratoon.generators.tasks.messages import BadRow, messages_of, storable
from ratoon.generators.tasks.task_rows import SPLITS
from ratoon.rows import labels, roles
from ratoon.rows import record as records
from ratoon.rows.golds import AS_IT_STANDS, GoldRule, NoGold, golds
from ratoon.rows.rows import open_rows
from ratoon.rows.source import READ, kind_of
from ratoon.rows.turns import said

COLUMNS = {
    "prompt": "a string, or a list of {role, content} that ends with the user's turn; a leading system message is kept",
    "completion": "the reply: a string, or a list of one assistant message",
    "answer": "the gold answer, or a list of which any will do, for the verifier",
    "verifier_args": "the verifier's arguments of a row: an object or its JSON",
    "label": "a verdict made elsewhere: true or false",
    "token_ids": "the completion's token ids as sampled",
    "logprobs": "their natural-log probabilities, one per id",
    "logprob_source": "who computed them",
    "prompt_token_ids": "the prompt's token ids as the model was given them",
    "policy": "name of the model, or a policy_id of the run",
    "finish_reason": "stop or length",
    "group": "for `ratoon train FILE`: names the replies to one prompt that were sampled alike; an import finds them itself",
    "family": "the arm",
    "level": "level of difficulty",
    "split": "train, probe or eval",
    "problem_key": "the problem under its wording",
    "temperature": "sampling temperature",
    "top_p": "nucleus mass",
    "top_k": "tokens kept",
    "min_p": "least relative probability",
    "max_tokens": "most tokens sampled",
}
# What a sampling can hold: the least, the most, and whether it is a whole number (`samplings` keeps those in 32 bits).
_RANGES = {
    "temperature": (0.0, 1e6, False),
    "top_p": (0.0, 1.0, False),
    "top_k": (-1, 2**31 - 1, True),
    "min_p": (0.0, 1.0, False),
    "max_tokens": (0, 2**31 - 1, True),
}
SAMPLING = tuple(_RANGES)
_LEAST_LOGPROB, _MOST_LOGPROB = -1e30, 1e-3  # what 32 bits hold; rounding may leave a little more than 0
_DIGITS = 1000  # of a whole number that is a name: Python writes none of more than 4,300
_REQUIRED = ("prompt", "completion")
# Roles of layouts that say their texts in another way than a prompt column and a completion column.
_LAID_OUT = frozenset({"messages", "system", "input", "options", "completions", "rejected"})
_FINISH = {"stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length"}


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout as the file tells it; `where` is its line. `messages` is the whole prompt, a system message included."""

    where: str
    messages: list[dict[str, str]]
    text: str
    answer: str | None = None
    label: bool | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    logprob_source: str | None = None
    prompt_token_ids: list[int] | None = None
    policy: str | None = None
    finish_reason: str | None = None
    group: str | None = None
    family: str | None = None
    level: str | None = None
    split: str | None = None
    problem_key: str | None = None
    sampling: tuple[float | None, ...] = (None,) * len(SAMPLING)
    verifier_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def turns(self) -> list[dict[str, str]]:
        """The prompt without its system message: what a task holds."""
        return self.messages[1:] if self.messages[0]["role"] == "system" else self.messages


class Judged(NamedTuple):
    """How the gold and the verifier's arguments are read: the gold's rule, arguments of all rows, and a column an argument."""

    gold: GoldRule = AS_IT_STANDS
    args: Mapping[str, Any] = {}
    columns: Mapping[str, str | tuple[str, ...]] = {}

    def told(self) -> dict[str, Any]:
        """What differs from the usual, as plain JSON: nothing where nothing was asked for."""
        rule = {name: value for name, value in self.gold._asdict().items() if value}
        every = {"gold": rule, "verifier_args": dict(self.args), "arguments": dict(self.columns)}
        return {name: value for name, value in every.items() if value}


AS_USUAL = Judged()


class Read(NamedTuple):
    """The usable rows, (where, why) for the others, and sentences on how they were read."""

    rows: list[Row]
    bad: list[tuple[str, str]]
    told: list[str]


def column_map(path: Path, pairs: Iterable[str] | Mapping[str, str] = ()) -> dict[str, str]:
    """The column of each role: `pairs` (NAME=ROLE or ROLE=NAME), columns that go by a role's name, and the layout's texts.

    Raises DataError when the file is none that can be read or lacks a column, ConfigError on a role there is not.
    """
    if kind_of(path) in (None, "text"):
        raise DataError(f"cannot import {path}: its type is {path.suffix!r}", f"give a file of type {READ}")
    rows = open_rows(path)
    names = rows.columns()
    asked = roles.asked(pairs, names, str(path), [*COLUMNS, *roles.TEXTS])
    texts = records.columns(rows, {role: name for role, name in asked.items() if role in roles.TEXTS})
    found = {role: role for role in COLUMNS if role in names} | asked
    if not found.keys() >= set(_REQUIRED) or found.keys() & _LAID_OUT:
        found = {role: name for role, name in texts.items() if role in roles.TEXTS} | found
    found |= {"label": texts["label"]} if "label" in texts and "label" not in found else {}
    if found.get("completion") is not None and found.get("completion") == found.get("answer"):
        del found["completion"]  # the gold answer of a question is no reply to it
    if not found.keys() & {"completion", "completions", "messages"} or not found.keys() & {"prompt", "messages", "completion"}:
        lacking = "prompt" if found.keys() & {"completion", "completions", "messages"} else "completion"
        raise DataError(
            f"{path} has no column {lacking!r}; its columns are {', '.join(names) or 'none'}",
            f"name it: --column NAME={lacking}",
        )
    return found


def read(path: Path, columns: Mapping[str, str], finish_reason: str | None = None, judged: Judged = AS_USUAL) -> Read:
    """The rows of a file. `finish_reason` is of rows that name none.

    Raises DataError when the file cannot be read, has no row, or lacks a column of an argument.
    """
    rows: list[Row] = []
    bad: list[tuple[str, str]] = []
    values: list[tuple[str, dict[str, Any]]] = []
    opened = open_rows(path)
    also = _also(judged, opened.columns(), str(path))
    for item in opened.items():
        if item.problem is not None:
            bad.append((item.where, item.problem))
            continue
        try:
            values += _replies(item.where, item.row, columns, judged)
        except (BadRow, NoGold, RecursionError) as error:
            bad.append((item.where, _why(error)))
    if not values and not bad:
        raise DataError(f"{path} holds no row", "give a file with a row a reply")
    passed, sentence = _verdicts([found.get("label") for _, found in values])
    for (where, found), label in zip(values, passed, strict=True):
        try:
            rows.append(_row(where, found | {"label": label}, finish_reason))
        except (BadRow, RecursionError) as error:
            bad.append((where, _why(error)))
    records.tell(opened, columns, None, also)
    return Read(rows, bad, [opened.reading.line(), *([f"column {columns['label']} {sentence}"] if sentence else [])])


def _why(error: Exception) -> str:
    return "a value is nested too deep" if isinstance(error, RecursionError) else str(error)


def _also(judged: Judged, names: list[str], where: str) -> list[str]:
    """The columns that the gold's rule and the arguments name. Raises DataError on one that is not there."""
    named = [one for column in judged.columns.values() for one in ([column] if isinstance(column, str) else column)]
    named += [judged.gold.index_into] if judged.gold.index_into else []
    if absent := [name for name in named if name not in names]:
        raise DataError(
            f"{where} has no column {absent[0]!r}; its columns are {', '.join(names) or 'none'}", "name one of them"
        )
    return named


def _replies(
    where: str, row: Mapping[str, Any], columns: Mapping[str, str], judged: Judged
) -> list[tuple[str, dict[str, Any]]]:
    """Place and values by role of each reply of a row; of a layout beside prompt and completion as its record says them."""
    values = {role: row.get(name) for role, name in columns.items()}
    values["answer"] = golds(values.get("answer"), row, judged.gold)
    own = own_args("verifier_args", values) | own_args(judged.columns, row)
    values["verifier_args"] = dict(judged.args) | own
    if not columns.keys() & _LAID_OUT:
        return [(where, values)]
    one = records.record(where, None, row, {role: name for role, name in columns.items() if role in roles.TEXTS})
    prompt = [{"role": turn["role"], "content": said(turn)} for turn in one.prompt]
    replies = one.texts or [None]
    several, passed = len(replies) > 1, values.get("label")
    return [
        (
            f"{where}#{n}" if several else where,
            values | {"prompt": prompt or None, "completion": reply}
            | ({"label": passed[n]} if isinstance(passed, list) and n < len(passed) else {}),
        )
        for n, reply in enumerate(replies)
    ]  # fmt: skip


def _verdicts(values: list[Any]) -> tuple[list[Any], str | None]:
    """The verdict of each label, and a sentence where they are not plain ones; what is none is left as it is."""
    passed, told = labels.verdicts([tuple(value) if isinstance(value, list) else value for value in values])
    if told is None or "no verdict" not in told:
        return list(passed), told
    plain = [labels.truth(value) for value in values]
    return [value if verdict is None else verdict for value, verdict in zip(values, plain, strict=True)], told


def _row(where: str, found: Mapping[str, Any], finish_reason: str | None) -> Row:
    token_ids, logprobs = _numbers(found, "token_ids", int), _numbers(found, "logprobs", float)
    if logprobs is not None and (token_ids is None or len(token_ids) != len(logprobs)):
        raise BadRow(f"{len(token_ids or ())} token ids, but {len(logprobs)} log-probs")
    split = _string(found, "split")
    if split not in (None, *SPLITS):
        raise BadRow(f"split {split!r} is none of {', '.join(SPLITS)}")
    reason = _string(found, "finish_reason")
    answers, others = found["answer"], found["answer"][1:]
    storable(answers, "answer")
    args = ({"alternatives": others} if others else {}) | found["verifier_args"]
    strings = {name: _string(found, name) for name in ("policy", "group", "family", "level", "problem_key", "logprob_source")}
    return Row(
        where, _prompt(found.get("prompt")), _completion(found.get("completion")), answers[0] if answers else None,
        _label(found.get("label")), token_ids, logprobs, prompt_token_ids=_numbers(found, "prompt_token_ids", int),
        finish_reason=finish_reason if reason is None else _FINISH.get(reason, reason), split=split,
        sampling=tuple(_number(found, name) for name in SAMPLING), verifier_args=args, **strings,
    )  # fmt: skip


def _prompt(prompt: Any) -> list[dict[str, str]]:
    if prompt is None or isinstance(prompt, str):
        return messages_of(prompt)
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], Mapping) and prompt[0].get("role") == "system":
        return [
            {"role": "system", "content": _text(prompt[0].get("content"), "system message")},
            *messages_of(None, prompt[1:]),
        ]
    return messages_of(None, prompt)


def _completion(completion: Any) -> str:
    """An empty reply is a reply; a missing one is not."""
    if isinstance(completion, list):
        if len(completion) != 1 or not isinstance(completion[0], Mapping) or completion[0].get("role") != "assistant":
            raise BadRow("the completion is no string and no list of one assistant message")
        completion = completion[0].get("content")
    return _text(completion, "completion")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"the {what} is {'null' if value is None else f'a {type(value).__name__}, not a text'}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"the {what} is not valid UTF-8") from None
    return value


def _label(label: Any) -> bool | None:
    if label is None or isinstance(label, bool):
        return label
    if label == "" or label != label:
        return None
    raise BadRow(f"the label is {_short(label)}, not true or false")


def _string(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int):
        if abs(value) >= 10**_DIGITS:
            raise BadRow(f"{name} is a number of more than {_DIGITS} digits, not a name")
        value = str(value)
    return _text(value, name)


def _number(found: Mapping[str, Any], name: str) -> float | None:
    """A sampling's number; null where there is none. Raises BadRow on what no sampling can hold, NaN and infinity too."""
    value = found.get(name)
    if value is None or value == "":
        return None
    least, most, whole = _RANGES[name]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRow(f"{name} is {_short(value)}, not a number") from None
    if not least <= number <= most or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise BadRow(f"{name} is {_short(value)}, not {kind} from {least:g} to {most:g}")
    return number


def _short(value: Any) -> str:
    """A value as an error shows it, however long it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of too many digits, too many levels
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:79]}…"


def _numbers(found: Mapping[str, Any], name: str, kind: type) -> list[Any] | None:
    values = found.get(name)
    if values is None:
        return None
    good = (int,) if kind is int else (int, float)
    if not isinstance(values, list) or any(not isinstance(v, good) or isinstance(v, bool) for v in values):
        raise BadRow(f"{name} is no list of {'whole numbers' if kind is int else 'numbers'}")
    if kind is int and any(not 0 <= v < 2**31 for v in values):
        raise BadRow(f"{name} holds a number that is no token id")
    if kind is float and any(not _LEAST_LOGPROB <= v <= _MOST_LOGPROB for v in values):
        raise BadRow(f"{name} holds a number that is no log-probability: these are finite and at most 0")
    return [kind(v) for v in values]
