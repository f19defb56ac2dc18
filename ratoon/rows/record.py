"""Rows of any layout in one shape: what was asked, the replies, the gold answers, and what else is known of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ratoon import ids
from ratoon.rows import labels, roles
from ratoon.rows.chunk import Item
from ratoon.rows.layouts import LAYOUTS, Look
from ratoon.rows.rows import Rows
from ratoon.rows.turns import Turn, assistant, joined, said, split_reply, turns, unpacked, user

# A `prompt` holds all that is asked; these have what they speak of in a column of its own.
_WITH_INPUT = ("instruction", "question", "problem", "query", "task")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class Record:
    """One row: `prompt` are turns, each of `replies` turns too; `facts` are its other values by role, as the file has them."""

    where: str
    split: str | None
    prompt: list[Turn]
    replies: list[list[Turn]]
    rejected: list[Turn]
    answers: list[str]
    options: list[str]
    facts: dict[str, Any]

    @property
    def asked(self) -> str | None:
        """Everything said before the reply."""
        return joined(self.prompt)

    @property
    def texts(self) -> list[str | None]:
        """What each reply says."""
        return [said(reply[-1]) if reply else None for reply in self.replies]


def columns(rows: Rows, asked: Iterable[str] | Mapping[str, str] = ()) -> dict[str, str]:
    """The column of each role: those asked for, those of the first layout that fits, and others by name; all of it is told.

    `rows.reading` gets layout, columns, the text columns with no role, and what could be read in two ways. Raises ConfigError
    and DataError for roles or columns that are not there.
    """
    names, head = rows.columns(), rows.head()
    look = Look(names, head)
    wanted = roles.asked(asked, names, rows.name)
    found = dict(wanted)
    for layout in LAYOUTS.values():
        own = layout.roles(look)
        if own is None or ("messages" in own and wanted.keys() & {"prompt", "completion", "completions"}):
            continue
        found |= {role: name for role, name in own.items() if role not in wanted and name not in wanted.values()}
        rows.reading.layout = layout.name
        break
    _more(found, look)
    rows.reading.columns = found
    used = {part for name in found.values() for part in ((name,) if name in names else name.split("+"))}
    rows.reading.not_looked_at = [name for name in names if name not in used and look.text(name)]
    rows.reading.ambiguous = _ambiguous(found, wanted, look)
    return found


def tell(rows: Rows, found: Mapping[str, str], layout: str | None, also: Iterable[str] = ()) -> None:
    """Put what is read into `rows.reading`: the column of each role, and text columns that serve none; `also` is read too."""
    look = Look(rows.columns(), rows.head())
    read = {part for name in found.values() for part in (name, *name.split("+"))} | set(also)
    rows.reading.layout, rows.reading.columns, rows.reading.ambiguous = layout, dict(found), []
    rows.reading.not_looked_at = [name for name in look.columns if name not in read and look.text(name)]


def records(items: Iterable[Item], columns: Mapping[str, str]) -> Iterator[Record]:
    """The readable items as records."""
    for item in items:
        if item.problem is None:
            yield record(item.where, item.split, item.row, columns)


def record(where: str, split: str | None, row: Mapping[str, Any], columns: Mapping[str, str]) -> Record:
    """One row as a record."""
    found = {role: _value(row, name) for role, name in columns.items()}
    options = texts_of(found.get("options"))
    prompt, replies, rejected = _conversation(found)
    if found.get("system") and not any(turn["role"] == "system" for turn in prompt):
        prompt = [{"role": "system", "content": str(found["system"])}, *prompt]
    facts = {role: value for role, value in found.items() if role in roles.FACTS}
    return Record(where, split, with_options(prompt, options), replies, rejected, golds(found.get("answer")), options, facts)


def digest(many: Iterable[Record]) -> str:
    """Of what the records say, whatever file, layout and order they came in."""
    content = sorted(
        ids.canonical_json([one.prompt, one.replies, one.rejected, one.answers, labels.truth(one.facts.get("label"))])
        for one in many
    )  # fmt: skip
    return blake2b("\n".join(content).encode("utf-8", "replace"), digest_size=16).hexdigest()


def golds(value: Any) -> list[str]:
    """The gold answers of a value: a text or number is one, a list holds several, also as SQuAD and TriviaQA nest them.

    >>> golds({"text": ["four", "4"], "answer_start": [0, 9]})
    ['four', '4']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, Mapping):
        inside = value.get("text", value.get("value"))
        return list(dict.fromkeys([*golds(inside), *golds(value.get("aliases"))]))
    if isinstance(value, list | tuple):
        return [text for item in value for text in golds(item)]
    return [_number_text(value) if isinstance(value, float) else str(value)]


def texts_of(value: Any) -> list[str]:
    """The choices of a question: a list of texts, ARC's {text, label}, or an object by letter."""
    value = unpacked(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        value = value["text"] if isinstance(value.get("text"), list) else list(value.values())
    items = [item.get("text", item.get("value")) if isinstance(item, Mapping) else item for item in value or ()]
    return [str(item) for item in items if item is not None]


def _number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)


def _value(row: Mapping[str, Any], name: str) -> Any:
    """A value; of several columns (`A+B+C`) the list of theirs."""
    if name in row or "+" not in name:
        return row.get(name)
    return [row.get(part) for part in name.split("+")]


def _conversation(found: Mapping[str, Any]) -> tuple[list[Turn], list[list[Turn]], list[Turn]]:
    """Prompt, replies and the rejected reply, as turns."""
    if found.get("messages") is not None:
        before, reply, _ = split_reply(turns(found["messages"]) or _text_turns(found["messages"], user))
        return before, [reply] if reply else [], []
    prompt = turns(found.get("prompt"), chat=False) or _text_turns(found.get("prompt"), user)
    if found.get("input") not in (None, "") and prompt:
        prompt = [*prompt[:-1], prompt[-1] | {"content": f"{prompt[-1]['content']}\n\n{found['input']}"}]
    whole, reply = _reply(found.get("completion"))
    _, rejected = _reply(found.get("rejected"))
    several = unpacked(found["completions"]) if isinstance(found.get("completions"), str) else found.get("completions")
    replies = [_reply(one)[1] for one in several or ()] if several is not None else [reply] if reply else []
    return whole or prompt, replies, rejected


def _reply(value: Any) -> tuple[list[Turn], list[Turn]]:
    """A reply's turns, and before them the prompt where the value is a whole conversation."""
    conversation = turns(value, chat=False)
    if conversation is None:
        return [], _text_turns(value, assistant)
    if conversation[0]["role"] in ("user", "system"):
        before, reply, _ = split_reply(conversation)
        return before, reply
    return [], conversation


def _text_turns(value: Any, turn: Any) -> list[Turn]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    return [turn(value if isinstance(value, str) else _number_text(value) if isinstance(value, float) else str(value))]


def with_options(prompt: list[Turn], options: Sequence[str]) -> list[Turn]:
    """The prompt with the choices below it, where it does not say them already."""
    asked = joined(prompt) or ""
    if not options or not prompt or all(option in asked for option in options):
        return prompt
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False))
    return [*prompt[:-1], prompt[-1] | {"content": f"{prompt[-1]['content'] or ''}\n\n{lines}"}]


def _more(found: dict[str, str], look: Look) -> None:
    """Roles that no layout gave, by the names of columns that serve no other."""
    whole = "messages" in found
    for role in ("system", "input", "options", "answer", *roles.FACTS):
        if role in found or (whole and role in ("input", "options")):
            continue
        if role == "input" and found.get("prompt", "").lower() not in _WITH_INPUT:
            continue
        name = roles.by_name(role, look.names, found.values())
        if name is not None:
            found[role] = name
    if "answer" in found and "prompt" in found and not found.keys() & {"completion", "completions", "messages"}:
        found["completion"] = found["answer"]


def _ambiguous(found: Mapping[str, str], wanted: Mapping[str, str], look: Look) -> list[str]:
    told = []
    if found.get("completion") is not None and found.get("completion") == found.get("answer"):
        told.append(f"column {found['answer']} is taken for the reply and for the gold answer")
    others = [n for n in ("prompt", "completion") if n in look.names and look.names[n] not in found.values()]
    if "messages" in found and len(others) == 2:
        told.append(f"{found['messages']} is read, not prompt and completion (--column prompt=prompt decides)")
    return told
