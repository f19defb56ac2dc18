"""Keeps rollouts whose text looks like text: not empty, no refusal, not one phrase over and over. Reads stored numbers only.

The limits are those of Gopher (Rae et al., 2112.11446, table A1), which were set for web pages; counts of words are off unless
set, since a right answer may be one number. A number that is unknown drops nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from ratoon import schema
from ratoon.columns import numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Side, Verdicts, coded

VERSION = "1"
NEEDS = ("rollout_id",)
SIDE = ("lint",)
_MOST = {
    "top_2": 0.20, "top_3": 0.18, "top_4": 0.16, "dup_5": 0.15, "dup_6": 0.14, "dup_7": 0.13, "dup_8": 0.12, "dup_9": 0.11,
    "dup_10": 0.10, "dup_line_share": 0.30, "dup_line_char_share": 0.20, "dup_paragraph_share": 0.30,
    "dup_paragraph_char_share": 0.20,
}  # fmt: skip


class LintConfig(Config):
    """Keep rollouts inside limits on their lint numbers."""

    kind: Literal["lint"] = Field("lint", description="this filter")
    empty: bool = Field(True, description="drop texts without a visible character")
    refusal: bool = Field(True, description="drop texts that begin as refusals do")
    repetition: bool = Field(True, description="Gopher's limits on repeated lines, paragraphs and word n-grams")
    repetition_words: int = Field(
        20, ge=0, description="words below which repetition is not looked at: short sums repeat by nature"
    )
    most: dict[str, float] = Field({}, description="upper limits by lint column, before the built-in ones: { top_2 = 0.3 }")
    least: dict[str, float] = Field({}, description="lower limits by lint column: { words = 5, alpha_share = 0.6 }")

    @model_validator(mode="after")
    def _columns(self) -> LintConfig:
        numbers_of = [field.name for field in schema.TABLES["lint"] if not pa.types.is_string(field.type)]
        if odd := sorted({*self.most, *self.least} - set(numbers_of)):
            raise ValueError(f"no lint number is called {odd[0]!r}; there are {', '.join(numbers_of)}")
        return self

    def columns(self) -> set[str]:
        """The lint numbers that are looked at."""
        return {"words", *(name for name, _, _ in _rules(self))}


def keep(rows: pa.Table, config: LintConfig, side: Side) -> Verdicts:
    """Drops for `lint:COLUMN`, the first limit that a row breaks; value and threshold are that column's."""
    numbers = side["lint"]
    at = pc.index_in(whole(rows["rollout_id"]), value_set=whole(numbers["rollout_id"]).cast(pa.string()))
    n = rows.num_rows
    codes, value, limits, reasons = np.full(n, -1), np.full(n, np.nan), list[float | None](), list[str]()
    words = _column(numbers, "words", at)
    for name, limit, side_of in _rules(config):
        column = _column(numbers, name, at)
        broken = column < limit if side_of == "least" else column > limit
        if side_of == "repetition":
            broken &= words >= config.repetition_words
        new = broken & (codes < 0)
        codes[new], value[new] = len(reasons), column[new]
        reasons.append(f"lint:{name}")
        limits.append(limit)
    return coded(codes, reasons, value=pa.array(value, mask=np.isnan(value)), thresholds=limits)


def _rules(config: LintConfig) -> list[tuple[str, float, str]]:
    """(column, limit, which kind), in the order they are looked at."""
    rules = [(name, 0.0, "most") for name, is_set in (("empty", config.empty), ("refusal", config.refusal)) if is_set]
    rules += [(name, limit, "least") for name, limit in sorted(config.least.items())]
    rules += [(name, limit, "most") for name, limit in sorted(config.most.items())]
    if config.repetition:
        rules += [(name, limit, "repetition") for name, limit in _MOST.items() if name not in config.most]
    return rules


def _column(table: pa.Table, name: str, at: pa.Array) -> np.ndarray:
    return numbers(whole(table[name]).cast(pa.float64()).take(at))
