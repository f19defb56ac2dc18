"""A user's own filter: a function named by an entry point of group `ratoon.filters`, or passed in Python.

The function is `f(rows: pa.Table, config: dict) -> Sequence[str | None]`: per row null to keep it, or a short reason.
It is given the candidates that reached its step, in id order, all columns.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import plugins
from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.filters.filter import Functions, Verdicts

GROUP = "ratoon.filters"


class EntryConfig(Config):
    """Keep what a user's own function keeps."""

    kind: Literal["entry"] = Field("entry", description="a filter of one's own")
    entry: str = Field(description="name of the entry point in group `ratoon.filters`, or of a function passed in Python")
    config: dict[str, Any] = Field(default_factory=dict, description="handed to the function as it is")


def keep(rows: pa.Table, config: EntryConfig, functions: Functions | None = None) -> Verdicts:
    """Drops for the reasons the function gives. Raises DataError when it does not answer once per row."""
    answers = list(plugins.find(GROUP, config.entry, functions or {})(rows, dict(config.config)))
    if len(answers) != rows.num_rows:
        raise DataError(f"filter {config.entry!r} gave {len(answers)} answers for {rows.num_rows} rows", "answer once per row")
    bad = next((a for a in answers if a is not None and not (isinstance(a, str) and a)), None)
    if bad is not None:
        raise DataError(f"filter {config.entry!r} answered {bad!r}", "answer null to keep a row, or a reason to drop it")
    return Verdicts(np.array([a is None for a in answers], bool), pa.array(answers, pa.string()))


def version(config: EntryConfig, functions: Functions | None = None) -> str:
    """The digest of the function's source."""
    return plugins.version(plugins.find(GROUP, config.entry, functions or {}))
