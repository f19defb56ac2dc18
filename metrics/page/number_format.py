"""Numbers as a person reads them: three digits that matter, the interval, n; unknown is a dash. Knows no HTML."""

from __future__ import annotations

import json
import math
from typing import Any

UNKNOWN = "–"


def short(value: float | None) -> str:
    """Three digits that matter, thousands apart; an unknown one is a dash.

    >>> short(0.41237), short(12345.6), short(None), short(0.00012)
    ('0.412', '12,346', '–', '0.00012')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 0.001:
        return f"{value:.{3 - max(1, math.floor(math.log10(size)) + 1) if size >= 1 else 3}f}"
    return f"{value:.2g}"


def interval(low: float | None, high: float | None) -> str:
    """`0.38 to 0.45`, or why there is none."""
    return f"{short(low)} to {short(high)}" if low is not None and high is not None else "no interval"


def count(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}"


def share(value: float | None) -> str:
    """A share as a percentage.

    >>> share(0.0423), share(0.5), share(None)
    ('4.2 %', '50 %', '–')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{100 * value:.0f} %" if value in (0, 1) or abs(value) >= 0.1 else f"{100 * value:.1f} %"


def full(value: float | None, low: float | None, high: float | None, n: int | None) -> str:
    """A number with all it takes to trust it."""
    return f"{short(value)} ({interval(low, high)}; n = {count(n)})"


def percent(value: float | None) -> str:
    """A share beside an axis of percentages: the same unit, three digits that matter.

    >>> percent(0.5493), percent(1.0), percent(None)
    ('54.9 %', '100 %', '–')
    """
    return UNKNOWN if value is None or not math.isfinite(value) else f"{short(100 * value)} %"


def clipped(label: str, most: int) -> str:
    """As many of a region's words (`one, two, three`) as fit into `most` letters; only a first that is too long is cut.

    >>> clipped("largest, indeed, aminoethoxypropan", 20), clipped("incomprehensibilities", 9)
    ('largest, indeed', 'incompre…')
    """
    parts = label.split(", ")
    while len(parts) > 1 and len(", ".join(parts)) > most:
        parts.pop()
    shown = ", ".join(parts)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def words(name: str) -> str:
    """A name of a column as words.

    >>> words("pass_rate")
    'pass rate'
    """
    return name.replace("_", " ")


def sentence(text: str) -> str:
    """Text that begins with a capital, unless it begins with code."""
    return text[:1].upper() + text[1:]


def any_value(value: Any) -> str:
    """Whatever a warning has as evidence."""
    if value is None or isinstance(value, bool):
        return UNKNOWN if value is None else str(value).lower()
    if isinstance(value, int | float):
        return short(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
