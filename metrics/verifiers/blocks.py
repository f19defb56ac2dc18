"""Where code stands in a reply: fenced blocks as models write them, closed or not; knows no language's rules.

A fence is three or more backticks or tildes at the beginning of a line. It ends with as many of them alone on a line, or at the
end of a line of code; an unclosed one ends with the reply. A reply whose only fence closes something is code up to there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OPEN = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*")


class Block(NamedTuple):
    """The language after the fence in lower case (empty where none is named), and the lines between the fences."""

    language: str
    body: str


def blocks(text: str) -> list[Block]:
    """Every block of a reply in its order; line ends of Windows are plain ones.

    >>> blocks("```python\\r\\nx = 1\\r\\n```\\r\\nIt gives:\\n~~~\\n1")
    [Block(language='python', body='x = 1'), Block(language='', body='1')]
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[Block] = []
    at = 0
    while at < len(lines):
        opened = _OPEN.fullmatch(lines[at])
        at += 1
        if opened is None:
            continue
        margin, fence, language = opened.groups()
        end, last = _end(lines, at, fence)
        body = [*lines[at:end], *([last] if last else [])]
        found.append(Block(language.lower(), _moved_left(margin, body)))
        at = end + 1
    if len(found) == 1 and not found[0].body.strip() and not found[0].language:
        return [Block("", "\n".join(_before(lines)))]
    return found


def _end(lines: list[str], start: int, fence: str) -> tuple[int, str]:
    """The line that closes the fence, and the code before it on that line; the number of lines where nothing closes it."""
    for at in range(start, len(lines)):
        line = lines[at].rstrip()
        if line.endswith(fence):
            before = line.rstrip(fence[0])
            if not before.strip() or (len(line) - len(before) >= len(fence) and fence not in before):
                return at, before if before.strip() else ""
    return len(lines), ""


def _before(lines: list[str]) -> list[str]:
    """The lines above the only fence."""
    return lines[: next(at for at, line in enumerate(lines) if _OPEN.fullmatch(line))]


def _moved_left(margin: str, lines: list[str]) -> str:
    """A block of a list item without the item's margin, where all of its lines have it."""
    if all(line.startswith(margin) for line in lines if line.strip()):
        lines = [line.removeprefix(margin) for line in lines]
    return "\n".join(lines)
