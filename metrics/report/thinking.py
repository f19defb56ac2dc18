"""How long replies thought before they answered, and how many never came to an end; in words, for the audit's notes."""

from __future__ import annotations

from statistics import median

import pyarrow as pa

from ratoon import reply


def told(rollouts: pa.Table) -> list[str]:
    """One sentence on the thinking of rollouts (the columns of `ratoon.reply.COLUMNS`); none where no reply thought."""
    texts, starts = rollouts["text"].to_pylist(), rollouts["answer_start"].to_pylist()
    unfinished = reply.unfinished(rollouts).to_pylist()
    thoughts = [text[:start] for text, start in zip(texts, starts, strict=True) if text is not None and start]
    open = sum(map(bool, unfinished))
    if not thoughts and not open:
        return []
    n = sum(text is not None for text in texts)
    said = f"{open / n:.1%} of {n} replies never stopped thinking and have no answer"
    if thoughts:
        said += f"; the other {len(thoughts)} that think do it in {median(map(_words, thoughts)):g} words (median)"
    return [said]


def _words(thoughts: str) -> int:
    """Words, without the tags around them."""
    return sum(not (word[0] in "<[" and word[-1] in ">]") for word in thoughts.split())
