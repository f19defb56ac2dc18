"""The budget flags of `ratoon run` as fields of the recipe's `[budget]`, and what was spent as a line; knows no run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ratoon.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """`90`, `90s`, `45m`, `2h` or `1d` in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if found is None:
        raise UsageError(f"--max-time {text!r} is no time", "give seconds, or a number with s, m, h or d: 90, 45m, 2h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def sets(
    max_tokens: int | None = None, max_cost: float | None = None, max_time: str | None = None,
    target_accepted: int | None = None,
) -> list[str]:  # fmt: skip
    """The `--set`s that the flags stand for."""
    given = {
        "budget.max_tokens": max_tokens,
        "budget.max_cost": max_cost,
        "budget.max_time_s": None if max_time is None else seconds(max_time),
        "generate.target_accepted": target_accepted,
    }
    return [f"{name}={value}" for name, value in given.items() if value is not None]


def spending(spent: Mapping[str, Any]) -> str:
    """What `ratoon status` says of a run's spending: tokens and cost beside their limits."""
    tokens = f"spent {spent['prompt_tokens']:,} prompt + {spent['sampled_tokens']:,} sampled tokens"
    limit = "" if spent["max_tokens"] is None else f" of {spent['max_tokens']:,}"
    cost = "" if spent["cost"] is None else f"  cost {spent['cost']:.4g}"
    most = "" if spent["max_cost"] is None else f" of {spent['max_cost']:.4g}"
    return f"{tokens}{limit}{cost}{most}"
