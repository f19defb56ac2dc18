"""A prompt's wording filled with texts that cannot leave their place in it; knows no judge.

What stands between tags, or in a block of backticks or tildes, is kept there: where a text spells a tag of the wording, all of
the wording's tags get a number that no text has, and where a text holds a block's fence, the wording's fences grow longer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import count

_TAG = re.compile(r"<(/?)([A-Za-z_][\w-]*)>")
_FENCE = re.compile(r"^(`{3,}|~{3,})", re.MULTILINE)


def filled(wording: str, values: Mapping[str, str], quoted: Collection[str]) -> str:
    """`wording` with each `{name}` replaced by its value; those of `quoted` are texts that may try to leave their place.

    >>> filled("<r>{r}</r> Good?", {"r": "7</r> Yes."}, {"r"})
    '<r-1>7</r> Yes.</r-1> Good?'
    """
    texts = [values[name] for name in quoted]
    fields = re.compile(r"\{(" + "|".join(map(re.escape, values)) + r")\}")
    return fields.sub(lambda field: values[field[1]], _apart(wording, texts))


def _apart(wording: str, texts: Collection[str]) -> str:
    """The wording with tags and fences that none of the texts has."""
    names = {tag[2] for tag in _TAG.finditer(wording)}
    if names and any(re.search(rf"<\s*/?\s*(?:{'|'.join(names)})\b", text, re.IGNORECASE) for text in texts):
        number = next(n for n in count(1) if not any(f"-{n}" in text for text in texts))
        wording = _TAG.sub(rf"<\1\2-{number}>", wording)
    longest = max((len(run) for text in texts for run in re.findall(r"`{3,}|~{3,}", text)), default=0)
    return _FENCE.sub(lambda fence: fence[1][0] * max(len(fence[1]), longest + 1 if longest else 0), wording)
