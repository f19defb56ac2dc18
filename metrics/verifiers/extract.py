"""Where in a reply the answer stands: in a box, behind a tag, on the last line; knows nothing of what an answer means.

An unclosed `\\boxed{` or `<answer>` is no answer: the reply was cut there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Place = Literal["whole", "last_line", "boxed", "tagged"]
_BOX = re.compile(r"\\f?boxed\s*\{")


def boxed(text: str) -> str | None:
    """The inside of the last complete `\\boxed{…}`, braces balanced.

    >>> boxed(r"so \\boxed{1} or \\boxed{\\frac{1}{2}}")
    '\\\\frac{1}{2}'
    """
    found = None
    for match in _BOX.finditer(text):
        end = _closing_brace(text, match.end())
        found = found if end is None else text[match.end() : end]
    return found


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for i in range(start, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if not depth:
                return i
    return None


def tagged(text: str, tag: str) -> str | None:
    """The inside of the last `<tag>…</tag>`; without one, what follows the last `Tag:` (or `Tag is`) on its line or the next.

    >>> tagged("Answer: 3\\nFinal **Answer:** 7 apples", "answer")
    '7 apples'
    """
    element, label = _tag_patterns(tag)
    elements = element.findall(text)
    if elements:
        return elements[-1].strip()
    ends = [match.end() for match in label.finditer(text)]
    if not ends:
        return None
    lines = text[ends[-1] :].strip().splitlines()
    return lines[0].strip() if lines else None


@lru_cache(maxsize=64)
def _tag_patterns(tag: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    name = re.escape(tag)
    element = re.compile(rf"<{name}>((?:(?!<{name}>).)*?)</{name}>", re.IGNORECASE | re.DOTALL)
    label = re.compile(rf"(?<![\w<]){name}\**\s*(?:is\b\s*:?|[:：=])\s*\**", re.IGNORECASE)
    return element, label


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
