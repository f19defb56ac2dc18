"""A prompt or a list of messages from outside, as a task's messages; knows no file and no source."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ratoon import ids
from ratoon.messages import compact, user


class BadRow(ValueError):
    """A row that cannot be a task; becomes a row of `failures`."""


def messages_of(prompt: Any, messages: Any = None) -> list[dict[str, Any]]:
    """The task's messages: `messages` where there are some, else `prompt` as one user turn. Raises BadRow.

    The last turn must be the user's, and a system message is refused: it is the recipe's, where it can be seen and changed.
    """
    if messages is None:
        return [user(_content(prompt, "prompt"))]
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise BadRow("messages is no list of {role, content}")
    turns = [_turn(message) for message in messages]
    if any(turn["role"] == "system" for turn in turns):
        raise BadRow("a system message; give it as the recipe's system prompt")
    if turns[-1]["role"] != "user":
        raise BadRow(f"the last message is of role {turns[-1]['role']!r}, not 'user'")
    return turns


def answer_text(answer: Any) -> str | None:
    """The gold as text: a number as Python writes it, null (also a NaN) as unknown. Raises BadRow on anything else."""
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return None
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise BadRow(f"the answer is a {type(answer).__name__}, not a text or a number")
    return _utf8(str(answer), "answer")


def storable(value: Any, what: str) -> str:
    """The value as canonical JSON. Raises BadRow where it holds a NaN, an infinity, no UTF-8 or too many levels."""
    try:
        return _utf8(ids.canonical_json(value), what)
    except RecursionError:
        raise BadRow(f"the {what} is nested too deep") from None
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, BadRow) else BadRow(f"the {what} is no plain JSON: {error}") from None


def label_text(value: Any, what: str) -> str | None:
    """A name or level beside the texts, as text; null as unknown. Raises BadRow on a list, an object or no UTF-8."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple | Mapping):
        raise BadRow(f"the {what} is a {type(value).__name__}, not a text")
    return _utf8(str(value), what)


def tools_of(tools: Any) -> str | None:
    """A task's tools as JSON, of a list or its JSON; null where there are none. Raises BadRow."""
    return _json_list(tools, "tools")


def _turn(message: Any) -> dict[str, Any]:
    """The message in our fields. One that calls tools need say nothing."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise BadRow("a message without a role")
    calls = _json_list(message.get("tool_calls"), "tool_calls")
    content = message.get("content")
    reasoning = message.get("reasoning", message.get("reasoning_content"))
    turn = {
        "role": _utf8(message["role"], "role"),
        "content": None if content is None and calls is not None else _content(content, "content"),
        "reasoning": _field(reasoning, "reasoning"),
        "tool_calls": calls,
        "tool_call_id": _field(message.get("tool_call_id"), "tool_call_id"),
        "name": _field(message.get("name"), "name"),
    }
    return compact([turn])[0]


def _field(value: Any, what: str) -> str | None:
    return None if value is None or value == "" else _content(value, what)


def _json_list(value: Any, what: str) -> str | None:
    """A list of objects, or its JSON, as canonical JSON; an empty one is none. Parquet's nulls inside are left out."""
    try:
        items = json.loads(value) if isinstance(value, str) and value else value
    except (ValueError, RecursionError):
        raise BadRow(f"{what} is no JSON") from None
    if items is None or items == [] or items == "":
        return None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise BadRow(f"{what} is no list of objects")
    try:
        return storable(_without_nulls(items), what)
    except RecursionError:
        raise BadRow(f"the {what} is nested too deep") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list | tuple) else value


def _content(text: Any, what: str) -> str:
    if text is None:
        raise BadRow(f"the {what} is null")
    if not isinstance(text, str):
        raise BadRow(f"the {what} is a {type(text).__name__}, not a text")
    if not text.strip():
        raise BadRow(f"the {what} is blank")
    return _utf8(text, what)


def _utf8(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"the {what} is not valid UTF-8") from None
    return text
