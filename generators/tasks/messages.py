"""A prompt or a list of messages from outside, as a task's messages; knows no file and no source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ratoon.messages import user


class BadRow(ValueError):
    """A row that cannot be a task; becomes a row of `failures`."""


def messages_of(prompt: Any, messages: Any = None) -> list[dict[str, str]]:
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


def _turn(message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise BadRow("a message without a role")
    return {"role": message["role"], "content": _content(message.get("content"), "content")}


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
