"""Conversations of any form as turns in our words: role, content, and tool calls as JSON where there are any.

A turn is {role, content} with `tool_calls` (JSON text), `tool_call_id`, `name` and `reasoning` only where the file has them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Turn = dict[str, Any]

USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"
# The roles of ShareGPT and of other formats, in small letters, in our words.
ROLES = {
    "user": USER, "human": USER, "prompter": USER, "customer": USER, "client": USER, "instruction": USER,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "gpt4": ASSISTANT, "gpt-4": ASSISTANT, "bot": ASSISTANT,
    "model": ASSISTANT, "ai": ASSISTANT, "bing": ASSISTANT, "bard": ASSISTANT, "gemini": ASSISTANT, "claude": ASSISTANT,
    "chatbot": ASSISTANT, "agent": ASSISTANT, "llm": ASSISTANT, "function_call": ASSISTANT, "tool_call": ASSISTANT,
    "system": SYSTEM, "developer": SYSTEM, "context": SYSTEM,
    "tool": TOOL, "function": TOOL, "observation": TOOL, "tool_response": TOOL, "function_response": TOOL,
    "tool_result": TOOL, "ipython": TOOL, "environment": TOOL,
}  # fmt: skip
_CALLS = {"function_call", "tool_call"}
_ROLE, _CONTENT = ("role", "from", "speaker", "author"), ("content", "value", "text", "message", "utterance")
# One exchange an item: what the user says, and what the assistant says.
_PAIRS = (("user", "assistant"), ("human", "assistant"), ("prompt", "response"), ("input", "output"), ("question", "answer"),
          ("instruction", "response"), ("instruction", "output"))  # fmt: skip
_INSIDE = ("messages", "conversations", "conversation", "turns")
_ANTHROPIC = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")


def turns(value: Any, chat: bool = True) -> list[Turn] | None:
    """A conversation in our words; None where the value is none. `chat`: a list of texts is one, its turns in alternation.

    >>> turns([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}])
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Yes?'}]
    """
    if isinstance(value, str):
        return _of_text(value, chat)
    if isinstance(value, Mapping):
        return _of_object(value, chat)
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(turn, Mapping) for turn in value):
        return _of_list(value)
    if chat and len(value) > 1 and all(isinstance(turn, str) for turn in value):
        return [{"role": (USER, ASSISTANT)[i % 2], "content": text} for i, text in enumerate(value)]
    return None


def user(text: str) -> Turn:
    """A turn of the user's."""
    return {"role": USER, "content": text}


def assistant(text: str) -> Turn:
    """A turn of the assistant's."""
    return {"role": ASSISTANT, "content": text}


def said(turn: Mapping[str, Any]) -> str | None:
    """What a turn says: its content, and its tool calls as JSON; None where it has neither."""
    parts = [turn.get("content"), turn.get("tool_calls")]
    texts = [part for part in parts if isinstance(part, str) and part]
    return "\n".join(texts) if texts else turn.get("content")


def joined(conversation: Iterable[Mapping[str, Any]]) -> str | None:
    """What all turns say, a line each; None where none says anything."""
    texts = [text for text in map(said, conversation) if text]
    return "\n".join(texts) or None


def split_reply(conversation: Sequence[Turn]) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """The turns before the assistant's last one, that one, and what follows it; no reply where the assistant says nothing."""
    last = max((i for i, turn in enumerate(conversation) if turn["role"] == ASSISTANT), default=None)
    if last is None:
        return list(conversation), [], []
    return list(conversation[:last]), [conversation[last]], list(conversation[last + 1 :])


def unpacked(text: str) -> Any:
    """The list or object that a text is, as JSON or as Python or pandas writes it; None where it is none.

    >>> unpacked("['a', 'b']")
    ['a', 'b']
    """
    bare = text.strip()
    if not (bare[:1] in ("[", "{") and bare[-1:] in ("]", "}")):
        return None
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        value = _python(bare)
    return value if isinstance(value, list | dict) else None


def _python(text: str) -> Any:
    """A Python literal; of an object array of NumPy too, whose items no comma parts."""
    for candidate in (text, re.sub(r"\}\s*\n?\s*\{", "}, {", text)):
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _of_text(text: str, chat: bool) -> list[Turn] | None:
    if (value := unpacked(text)) is not None:
        return turns(value, chat)
    marks = list(_ANTHROPIC.finditer(text))
    if not marks or not any(mark[1] == "Human" for mark in marks) or text[: marks[0].start()].strip():
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        {"role": USER if mark[1] == "Human" else ASSISTANT, "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def _of_object(value: Mapping[str, Any], chat: bool) -> list[Turn] | None:
    """A struct of lists, one message, or an object that holds the conversation."""
    role, content = _key(value, _ROLE), _key(value, _CONTENT)
    if role and content:
        if isinstance(value[role], list | tuple):
            return _of_lists(value, len(value[role]))
        return _of_list([value])
    inside = next((value[name] for name in _INSIDE if name in value), None)
    return None if inside is None else turns(inside, chat)


def _of_lists(value: Mapping[str, Any], n: int) -> list[Turn] | None:
    """A list by field, as `datasets` once stored lists of structs."""
    columns = {name: items for name, items in value.items() if isinstance(items, list | tuple) and len(items) == n}
    return _of_list([{name: items[i] for name, items in columns.items()} for i in range(n)])


def _of_list(value: Sequence[Mapping[str, Any]]) -> list[Turn] | None:
    first = value[0]
    if _key(first, _ROLE):
        return [_turn(turn) for turn in value]
    for asked, answered in _PAIRS:
        if asked in first and answered in first:
            pairs = [pair for turn in value for pair in ((USER, turn.get(asked)), (ASSISTANT, turn.get(answered)))]
            return [{"role": role, "content": text_of(text)} for role, text in pairs if text is not None]
    return None


def _turn(turn: Mapping[str, Any]) -> Turn:
    given = str(turn.get(_key(turn, _ROLE) or "role"))
    content = turn.get(_key(turn, _CONTENT) or "content")
    made: Turn = {"role": ROLES.get(given.lower(), given.lower()), "content": text_of(content)}
    calls = turn.get("tool_calls") or turn.get("function_call")
    if given.lower() in _CALLS and not calls:
        made, calls = made | {"content": None}, made["content"]
    if calls:
        made["tool_calls"] = calls_text(calls)
    reasoning = turn.get("reasoning", turn.get("reasoning_content"))
    more = {"reasoning": reasoning, "tool_call_id": turn.get("tool_call_id"), "name": turn.get("name")}
    return made | {name: item for name, item in more.items() if isinstance(item, str) and item}


def calls_text(calls: Any) -> str:
    """Tool calls as JSON, without the nulls that Parquet fills in; arguments in one form, whether an object or its text.

    >>> calls_text([{"function": {"name": "get", "arguments": '{"a": 1}'}, "id": None}])
    '[{"function": {"arguments": {"a": 1}, "name": "get"}}]'
    """
    value = unpacked(calls) if isinstance(calls, str) else calls
    return calls if value is None else json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        there = {name: item for name, item in value.items() if item is not None}
        return {name: _arguments(item) if name == "arguments" else _plain(item) for name, item in there.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _arguments(value: Any) -> Any:
    inside = unpacked(value) if isinstance(value, str) else value
    return value if inside is None else _plain(inside)


def text_of(content: Any) -> str | None:
    """The text of a content: a string, the texts of a list of parts a line each, or what else it is as JSON.

    >>> text_of([{"type": "text", "text": "What is this?"}, {"type": "image", "url": "a.png"}])
    'What is this?'
    """
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, bytes):
        return content.decode("utf-8", "replace")
    if isinstance(content, Mapping) and isinstance(content.get("text"), str):
        return str(content["text"])
    if isinstance(content, list | tuple):
        parts = [part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if texts or not content or all(isinstance(part, Mapping) and "type" in part for part in content):
            return "\n".join(texts) if texts else None
    return json.dumps(content, ensure_ascii=False, default=str) if isinstance(content, list | tuple | Mapping) else str(content)


def _key(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in value), None)
