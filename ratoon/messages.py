"""What a conversation says, and its turns in and out; knows no task, no file and no chat template.

A message has a role and a content; it may have the assistant's reasoning and tool calls (JSON), the id of the call that a
tool's message answers, and a name. One rule for what is missing: a message without content says nothing, and where nobody
who is asked for says anything the text is null; an empty content is a text, an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.columns import Column, equal, whole
from ratoon.schema import ADDED_FIELDS

Message = Mapping[str, Any]
Messages = Sequence[Message]
_JOINED_BY = "\n"
# The roles of other formats (ShareGPT, Gemini) in our words, and ours in ShareGPT's.
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "observation": "tool"}
_TEMPLATE_NAMES = {"reasoning": "reasoning_content"}
_SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "observation"}


def system(content: str) -> dict[str, Any]:
    """A system message."""
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, Any]:
    """A turn of the user's."""
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, Any]:
    """A turn of the assistant's."""
    return {"role": "assistant", "content": content}


def opening(instruction: str | None, examples: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """What stands before a question: a system prompt, where there is one, and worked examples (user, assistant) as turns."""
    turns = [] if instruction is None else [system(instruction)]
    for question, reply in examples:
        turns += [user(question), assistant(reply)]
    return turns


def text_of(content: Any) -> str | None:
    """The text of a content: a string as it is, of a list of parts the texts of those that have one, a line each.

    >>> text_of([{"type": "text", "text": "What is this?"}, {"type": "image", "url": "a.png"}])
    'What is this?'
    """
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, str | Mapping)]
    return _joined([text for text in texts if isinstance(text, str)])


def compact(messages: Messages | None) -> list[dict[str, Any]]:
    """Each message with its role, its content, and what else it has: as ids are made of it and as others are given it."""
    return [{k: v for k, v in message.items() if v is not None or k not in ADDED_FIELDS} for message in messages or ()]


def for_template(messages: Messages) -> list[dict[str, Any]]:
    """The messages as chat templates and endpoints read them: tool calls as objects, reasoning as `reasoning_content`."""
    return [{_TEMPLATE_NAMES.get(k, k): _template_value(k, v) for k, v in turn.items()} for turn in compact(messages)]


def narrowed(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A column of conversations without those later fields that no message has: other trainers' templates ask for them."""
    turns = pc.list_flatten(whole(column))
    fields = [f for f in turns.type if f.name not in ADDED_FIELDS or pc.struct_field(turns, f.name).null_count < len(turns)]
    return column.cast(pa.list_(pa.struct(fields)))


def user_turns(messages: Messages | None) -> list[str]:
    """What each of the user's turns says, in order."""
    return _said(messages, "user")


def user_text(messages: Messages | None) -> str | None:
    """What the user says in all turns."""
    return _joined(_said(messages, "user"))


def all_text(messages: Messages | None) -> str | None:
    """What everybody says."""
    return _joined(_said(messages, None))


def split_reply(messages: Messages) -> tuple[Messages, str | None]:
    """The turns before the assistant's last one, and what that one says; all turns and null where there is none."""
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    return (messages, None) if last is None else (messages[:last], text_of(messages[last]["content"]))


def turns_in(conversation: Any) -> list[dict[str, Any]]:
    """A conversation from outside in our words: role and content, or ShareGPT's from and value.

    What is no list has no turns, and an item that is no message is no turn.
    """
    turns = conversation if isinstance(conversation, list | tuple) else ()
    return [_turn_in(turn) for turn in turns if isinstance(turn, Mapping)]


def sharegpt(messages: Messages) -> list[dict[str, Any]]:
    """The conversation as ShareGPT writes it."""
    return [{"from": _SHAREGPT.get(m["role"], m["role"]), "value": m["content"]} for m in messages]


def user_texts(column: Column) -> pa.Array:
    """`user_text` of each conversation of a column."""
    return _column_of_texts(column, "user")


def all_texts(column: Column) -> pa.Array:
    """`all_text` of each conversation of a column."""
    return _column_of_texts(column, None)


def last_texts(column: Column, role: str) -> pa.Array:
    """What the last turn of `role` that says anything says, of each conversation of a column."""
    said, ends = _said_in_column(column, role)
    places = pa.array(ends[1:] - 1, mask=np.diff(ends) == 0)
    return said.take(places)


def _template_value(name: str, value: Any) -> Any:
    return json.loads(value) if name == "tool_calls" and isinstance(value, str) else value


def _said(messages: Messages | None, role: str | None) -> list[str]:
    texts = (text_of(m["content"]) for m in messages or () if role is None or m["role"] == role)
    return [text for text in texts if text is not None]


def _joined(texts: Sequence[str]) -> str | None:
    return _JOINED_BY.join(texts) if texts else None


def _turn_in(turn: Message) -> dict[str, Any]:
    role = str(turn.get("role", turn.get("from")))
    return {"role": _ROLES.get(role, role), "content": text_of(turn.get("content", turn.get("value")))}


def _column_of_texts(column: Column, role: str | None) -> pa.Array:
    said, ends = _said_in_column(column, role)
    texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), said), _JOINED_BY)
    return pc.if_else(pa.array(np.diff(ends) > 0), texts, pa.scalar(None, pa.string()))


def _said_in_column(column: Column, role: str | None) -> tuple[pa.Array, np.ndarray]:
    """The contents that are there of `role` (None: of everybody), and where each conversation's begin: one more than rows."""
    conversations = whole(column)
    if pa.types.is_null(conversations.type):
        return pa.array([], pa.string()), np.zeros(len(conversations) + 1, np.int64)
    turns, owner = pc.list_flatten(conversations), pc.list_parent_indices(conversations)
    said = pc.struct_field(turns, "content")
    there = np.asarray(said.is_valid())
    if role is not None:
        there &= equal(pc.struct_field(turns, "role"), role)
    counts = np.bincount(np.asarray(owner)[there], minlength=len(conversations))
    return said.filter(pa.array(there)), np.concatenate([[0], np.cumsum(counts)])
