"""`--column NAME=ROLE` items as pairs; which side is the column a file says."""

from __future__ import annotations

from collections.abc import Iterable

from ratoon.errors import ConfigError


def pairs(asked: Iterable[str]) -> dict[str, str]:
    """`NAME=ROLE` or `ROLE=NAME` items as a dict. Raises ConfigError on another form."""
    by_name = {}
    for item in asked:
        left, equals, right = (part.strip() for part in item.partition("="))
        if not (equals and left and right):
            raise ConfigError(f"--column {item!r} is not NAME=ROLE", "for example --column final_answer=answer")
        by_name[left] = right
    return by_name
