"""Verdicts as files write them. A number is one by a threshold, a column of several classes is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

TRUE = {"true", "t", "1", "1.0", "pass", "passed", "correct", "yes", "y"}
FALSE = {"false", "f", "0", "0.0", "fail", "failed", "incorrect", "wrong", "no", "n"}
THRESHOLD = 0.5


def truth(value: Any) -> bool | None:
    """True or false as a word, a bool, or 0 and 1; None for all else.

    >>> [truth(value) for value in ("TRUE", "no", 1.0, 0.7, None)]
    [True, False, True, None, None]
    """
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in TRUE else False if word in FALSE else None


def verdicts(values: Sequence[Any]) -> tuple[list[bool | None], str | None]:
    """The verdict of each value of a column, and a sentence where they are not plain ones; null values are unknown.

    Numbers from 0 to 1 are true from 0.5 on, -1 and 1 are false and true; any other column has no verdict at all.

    >>> verdicts([0, 1, 2, 3])
    ([None, None, None, None], 'has 4 classes (0, 1, 2, 3), so it is no verdict')
    """
    known = [value for value in values if not _missing(value)]
    plain = [truth(value) for value in known]
    if all(one is not None for one in plain):
        return [None if _missing(value) else truth(value) for value in values], None
    numbers = [_number(value) for value in known]
    if all(number is not None for number in numbers):
        spread = {number for number in numbers if number is not None}
        if spread <= {-1.0, 1.0}:
            return [None if _missing(value) else _number(value) == 1 for value in values], "-1 is false, 1 is true"
        if all(0 <= number <= 1 for number in spread):
            passed = [None if _missing(value) else (_number(value) or 0.0) >= THRESHOLD for value in values]
            return passed, f"from {THRESHOLD} on it is true"
    classes = sorted({str(value) for value in known})
    shown = ", ".join(classes[:5]) + (" …" if len(classes) > 5 else "")
    return [None] * len(values), f"has {len(classes)} classes ({shown}), so it is no verdict"


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
