"""Where in a reply the answer stands: in a box, behind a tag, on the last line; knows nothing of what an answer means.

An unclosed `\\boxed{` or `<answer>` is no answer: the reply was cut there. Boxes side by side (`\\boxed{1} and \\boxed{2}`) are
one answer of several parts; of boxes with words between them the last counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

Place = Literal["whole", "last_line", "boxed", "tagged"]
_COMMAND = r"\\\\?(?:boxed|fbox|fboxed|framebox)(?![A-Za-z])"
# `\\{` is a line break and a group, `\{` a brace to be seen.
_BRACE = re.compile(rf"{_COMMAND}\s*\{{|\\\\(?!f?box|framebox)|\\[{{}}]|[{{}}]")
_UNBRACED = re.compile(rf"{_COMMAND}[ \t]+(?=[^\s{{}}$])(?:(?P<math>[^\n$]{{1,200}}?)(?=\$)|(?P<word>[^\s$]{{1,200}}))")
_BETWEEN = re.compile(
    r"(?:[\s,;$&|+]|\\[\[\]()!,;: ]|\\\\|\\q?quad|\\(?:lor|land|vee|wedge)\b|\*\*"
    r"|\\(?:text|mathrm|mbox)\s*\{(?:\s*[,&]?|[^{}]{0,40}\b(?:and|or))\s*\}"
    r"|(?:[ \t]+[a-z]+[ \t]+)?\b(?:and|or)\b|\b[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=)*"
)
_BETWEEN_AT_MOST = 60
_PARTS_AT_MOST = 100
_EMPHASIS = ("**", "__", "``", "*", "_", "`", "$")
_QUOTES = "\"'*_`"


class Box(NamedTuple):
    """A complete box or element that holds no other: where it starts, where it ends, what is inside."""

    start: int
    end: int
    inside: str


def boxed(text: str) -> str | None:
    """The inside of the last complete `\\boxed{…}` or `\\fbox{…}`, braces balanced; boxes side by side with commas between.

    >>> boxed(r"so \\boxed{1}, no, \\boxed{\\frac{1}{2}}")
    '\\\\frac{1}{2}'
    >>> boxed(r"\\boxed{1} or \\boxed{2}")
    '1, 2'
    """
    found = boxes(text)
    return ", ".join(found) if found else None


def boxes(text: str) -> list[str]:
    """The insides of the last complete box and of those side by side with it, each once, in the order of the text."""
    if "box" not in text:
        return []
    return _last_run(text, sorted({*_complete(text), *_unbraced(text)}), touching=True)


def _last_run(text: str, found: list[Box], touching: bool) -> list[str]:
    """The insides of the last and of those side by side with it, each once; those that touch too, if `touching`."""
    first = len(found) - 1
    while first > 0 and len(found) - first < _PARTS_AT_MOST and _adjoin(text, found[first - 1], found[first], touching):
        first -= 1
    return list(dict.fromkeys(box.inside.strip() for box in found[max(0, first) :]))


def _complete(text: str) -> Iterator[Box]:
    """Each box that closes and holds no other box; one pass, whatever is left open."""
    opened: list[tuple[int, int, bool]] = []
    latest = -1
    for match in _BRACE.finditer(text):
        mark = match.group()
        if mark.endswith("{") and mark != "\\{":
            opened.append((match.start(), match.end(), len(mark) > 1))
        elif mark == "}" and opened:
            start, inside, is_box = opened.pop()
            if is_box and latest < inside:
                yield Box(start, match.end(), text[inside : match.start()])
            latest = max(latest, start) if is_box else latest


def _unbraced(text: str) -> Iterator[Box]:
    """`\\boxed 42`: up to the dollar sign of its line, or up to the next blank."""
    for match in _UNBRACED.finditer(text):
        inside = match["math"] or match["word"].rstrip(".,;")
        yield Box(match.start(), match.end(), inside)


def _adjoin(text: str, one: Box, next_: Box, touching: bool) -> bool:
    """Whether only a comma, `and`, `or` or a variable's name stands between two boxes; or nothing, if `touching`."""
    between = text[one.end : next_.start] if next_.start - one.end <= _BETWEEN_AT_MOST else ""
    return (touching and next_.start == one.end) or (bool(between.strip()) and _BETWEEN.fullmatch(between) is not None)


def tagged(text: str, tag: str) -> str | None:
    """The inside of the last `<tag>…</tag>`; without one, what follows the last `Tag:` (or `Tag is`) on its line or the next.

    >>> tagged("Answer: 3\\nFinal **Answer:** 7 apples", "answer")
    '7 apples'
    >>> tagged("**Answer: Paris**", "answer")
    'Paris'
    """
    inside = element(text, tag)
    if inside is not None:
        return inside
    ends = [match.end() for match in _label_pattern(tag).finditer(text)]
    if not ends:
        return None
    lines = text[ends[-1] :].strip().splitlines()
    return _closed(lines[0].strip()) if lines else None


def element(text: str, tag: str) -> str | None:
    """The inside of the last `<tag>…</tag>` that holds no other opening tag; elements side by side with commas between, as
    boxes are, but not those that touch: the second takes the first back. None where none is closed."""
    opened, found = None, []
    for match in _element_pattern(tag).finditer(text):
        if match["close"] is None:
            opened = match
        elif opened is not None:
            found.append(Box(opened.start(), match.end(), text[opened.end() : match.start()]))
            opened = None
    return ", ".join(_last_run(text, found, touching=False)) if found else None


@lru_cache(maxsize=64)
def _element_pattern(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<(?P<close>/)?{re.escape(tag)}>", re.IGNORECASE)


@lru_cache(maxsize=64)
def _label_pattern(tag: str) -> re.Pattern[str]:
    marks = f"[{_QUOTES}]{{0,4}}"
    return re.compile(
        rf"(?<![^\W_])(?<!<){re.escape(tag)}{marks}[ \t]{{0,8}}(?:is\b\s{{0,8}}:?|[:：=])\s{{0,8}}\**", re.IGNORECASE
    )


def _closed(part: str) -> str:
    """Without the emphasis at its end that was opened before the label."""
    for mark in ("**", "__"):
        if part.endswith(mark) and part.count(mark) % 2:
            return part.removesuffix(mark).rstrip()
    return part


def peelings(text: str) -> Iterator[str]:
    """The text, then without the emphasis around all of it, layer by layer.

    >>> list(peelings("**`Paris`**"))
    ['**`Paris`**', '`Paris`', 'Paris']
    """
    yield text
    mark = next((mark for mark in _EMPHASIS if _wraps(mark, text)), None)
    if mark is not None:
        yield from peelings(text[len(mark) : -len(mark)].strip())


def _wraps(mark: str, text: str) -> bool:
    inside = text[len(mark) : -len(mark)]
    return len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and mark not in inside


def place(text: str, where: Place, tag: str = "answer") -> str | None:
    """The part of `text` that holds the answer, or None when it is not there."""
    if where == "whole":
        return text.strip()
    if where == "last_line":
        lines = text.strip().splitlines()
        return lines[-1].strip() if lines else None
    return boxed(text) if where == "boxed" else tagged(text, tag)


def specimen(answer: str, where: str, tag: str = "answer") -> str:
    """A reply that puts `answer` where `place` looks for it: what a perfect policy would write."""
    if where == "boxed":
        return rf"\boxed{{{answer}}}"
    return f"<{tag}>{answer}</{tag}>" if where == "tagged" else answer
