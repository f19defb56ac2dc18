"""The form in which proposers write tasks: labelled lines, or JSON under a schema; writes examples and reads replies.

Reading is lenient about numbering, emphasis and blank lines, and never guesses: what has no `Task:` is no task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ratoon.novelty import tokens_of

_LABEL = re.compile(
    r"^[\s*#>-]*(?:\d+\s*[.):]\s*)?[*_]*(task|question|input|output|answer)\s*(?:\d+)?[*_]*\s*[::][*_]*[ \t]*", re.IGNORECASE
)
_SAME = {"question": "task", "answer": "output"}
_NOTHING = {"none", "n/a", "na", "-", "–", "empty", "(none)", "(empty)", "<noinput>", "null", "no input"}


class Draft(NamedTuple):
    """A task as it was written; nothing checked yet."""

    instruction: str
    input: str = ""
    output: str = ""


def _order(output_first: bool) -> tuple[tuple[str, str], ...]:
    """Label and field in the order they are written."""
    fields = [("Input", "input"), ("Output", "output")]
    return (("Task", "instruction"), *(reversed(fields) if output_first else fields))


def as_plain(drafts: Sequence[Draft], output_first: bool) -> str:
    """Labelled lines, a blank line between tasks; an empty input is `none`."""
    return "\n\n".join(
        "\n".join(f"{label}: {getattr(draft, name) or 'none'}" for label, name in _order(output_first)) for draft in drafts
    )


def as_json(drafts: Sequence[Draft], output_first: bool) -> str:
    """One JSON object `{"tasks": [{task, input, output}]}`."""
    rows = [{label.lower(): getattr(draft, name) for label, name in _order(output_first)} for draft in drafts]
    return json.dumps({"tasks": rows}, ensure_ascii=False)


def schema(n: int, output_first: bool, with_input: bool = True) -> str:
    """The JSON schema of `n` tasks; the properties come in the order they are to be written."""
    names = [label.lower() for label, _ in _order(output_first) if with_input or label != "Input"]
    item = {
        "type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names,
        "additionalProperties": False,
    }  # fmt: skip
    tasks = {"type": "array", "items": item, "minItems": n, "maxItems": n}
    whole = {"type": "object", "properties": {"tasks": tasks}, "required": ["tasks"], "additionalProperties": False}
    return json.dumps(whole)


def read_json(text: str) -> list[Draft]:
    """The tasks of a reply in JSON; of one that was cut those that are whole; none where it is no such JSON."""
    try:
        tree = json.loads(text)
        rows = tree.get("tasks") if isinstance(tree, dict) else tree
    except (ValueError, RecursionError):
        rows = _whole_objects(text)
    if not isinstance(rows, list):
        return []
    return [Draft(*(_said(row.get(name)) for name in ("task", "input", "output"))) for row in rows if isinstance(row, dict)]


def _whole_objects(text: str) -> list[Any]:
    """What stands whole in the list of a JSON text that ends too early."""
    _, begun, rest = text.partition("[")
    decoder, rows = json.JSONDecoder(), list[Any]()
    while begun:
        try:
            row, end = decoder.raw_decode(rest.lstrip(" \n\t,"))
        except (ValueError, RecursionError):
            break
        rows.append(row)
        rest = rest.lstrip(" \n\t,")[end:]
    return rows


def read_plain(text: str) -> list[Draft]:
    """The tasks of a reply in labelled lines; what comes before the first `Task:` is passed over."""
    found: list[dict[str, list[str]]] = []
    field: list[str] | None = None
    lines = [(line, _LABEL.match(line)) for line in text.splitlines()]
    passages = _passages([label.group(1).lower() for _, label in lines if label])
    for line, label in lines:
        if label is None or label.group(1).lower() in passages:
            if field is not None:
                field.append(line)
            continue
        name = _SAME.get(label.group(1).lower(), label.group(1).lower())
        if name == "task":
            found.append({})
        if found:
            field = found[-1].setdefault(name, [])
            field.append(line[label.end() :])
    return [Draft(*(_said("\n".join(each.get(name, ()))) for name in ("task", "input", "output"))) for each in found]


def _passages(labels: Sequence[str]) -> set[str]:
    """Labels that this reply uses in its texts: of two words for one field the one that it writes first is the label."""
    first = {_SAME.get(label, label): label for label in reversed(labels)}
    return {label for label in labels if first[_SAME.get(label, label)] != label}


def torn(drafts: Sequence[Draft], cut: bool, schema: str | None) -> list[tuple[Draft, bool]]:
    """Each draft, and whether the end of a cut reply fell into it: the last one, or in JSON one more that could not be read."""
    found = [(draft, False) for draft in drafts]
    if not cut:
        return found
    return [*found, (Draft(""), True)] if schema is not None else [*found[:-1], (drafts[-1], True)]


def words(text: str) -> list[str]:
    """The words of a text; in scripts without spaces every character is one."""
    return [token for token in tokens_of(text) if any(c.isalnum() for c in token)]


def _said(value: Any) -> str:
    """A field's text, without the words that stand for nothing."""
    text = value.strip() if isinstance(value, str) else ""
    text = text.strip("*_ \n\t") if text.startswith(("*", "_")) else text
    return "" if text.casefold().rstrip(".") in _NOTHING else text
