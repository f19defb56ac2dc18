"""A verifier's arguments out of a row: an object in one column, or a column an argument; knows no verifier."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ratoon.generators.tasks.messages import BadRow, storable


def own_args(column: str | Mapping[str, Any] | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's arguments: the object in a column, or a column an argument, of several columns one list.

    Parquet fills the fields a row has not with null, which is not said here. Raises BadRow.
    """
    value: Any
    if isinstance(column, Mapping):
        value = {name: row.get(one) if isinstance(one, str) else _listed(one, row) for name, one in column.items()}
    else:
        value = row.get(column) if column else None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow("verifier_args is no JSON") from None
    if value is not None and not isinstance(value, dict):
        raise BadRow("verifier_args is no object")
    storable(value, "verifier_args")
    return {name: item for name, item in (value or {}).items() if item is not None}


def _listed(names: Iterable[str], row: Mapping[str, Any]) -> list[Any] | None:
    """The values of several columns, those that are lists taken apart; None where there is none."""
    values = [row[name] for name in names if row.get(name) is not None]
    return [item for value in values for item in (value if isinstance(value, list) else [value])] or None
