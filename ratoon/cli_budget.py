"""The budget flags of `ratoon run` as fields of the recipe's `[budget]`; knows no budget's meaning."""

from __future__ import annotations

import re

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
