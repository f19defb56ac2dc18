"""Drops replies that hold words of a model that does not do the task: excuses, talk about itself, the prompt's own labels.

SELF-GUIDE (arXiv 2407.12874) drops outputs by such lists. Only whole words count, whatever their case; a null text is dropped.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import whole
from ratoon.config import Config
from ratoon.filters.filter import Verdicts, coded
from ratoon.text import normalise

VERSION = "1"
NEEDS = ("text",)
_WORDS = (
    "as an ai", "language model", "i'm sorry", "i am sorry", "i cannot", "i can't", "i am unable", "i'm unable", "input:",
    "output:", "task:", "[input]", "[output]", "lorem ipsum", "your answer here", "<|",
)  # fmt: skip


class NoiseWordsConfig(Config):
    """Keep rollouts that hold none of some words."""

    kind: Literal["noise_words"] = Field("noise_words", description="this filter")
    words: tuple[str, ...] = Field(_WORDS, min_length=1, description="words or phrases, whole and in any case")


def keep(rows: pa.Table, config: NoiseWordsConfig) -> Verdicts:
    """Drops for `noise:WORD`, the first of `words` that a text holds, or `noise:unknown` where there is no text."""
    patterns = [_whole_word(normalise(word)) for word in config.words]
    texts = whole(rows["text"]).dictionary_encode()
    codes = [_first(patterns, normalise(text)) for text in texts.dictionary.to_pylist()]
    by_row = np.array([*codes, len(patterns)])[np.asarray(texts.indices.fill_null(len(codes)))]
    return coded(by_row, [*(f"noise:{normalise(word)}" for word in config.words), "noise:unknown"])


def _whole_word(word: str) -> re.Pattern[str]:
    """A letter of the word must not stand beside another letter; its other characters stand for themselves."""
    before = r"(?<!\w)" if word[:1].isalnum() else ""
    after = r"(?!\w)" if word[-1:].isalnum() else ""
    return re.compile(f"{before}{re.escape(word)}{after}")


def _first(patterns: list[re.Pattern[str]], text: str) -> int:
    return next((i for i, pattern in enumerate(patterns) if pattern.search(text)), -1)
