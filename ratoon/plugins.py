"""A user's own components, found by standard entry points; knows no component by name.

A package declares `[project.entry-points."ratoon.filters"] mine = "my_package:keep"`; a recipe then names `mine`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from hashlib import blake2b
from importlib.metadata import entry_points
from typing import Any

from ratoon.errors import ConfigError

_NONE: Mapping[str, Callable[..., Any]] = {}


def find(group: str, name: str, functions: Mapping[str, Callable[..., Any]] = _NONE) -> Callable[..., Any]:
    """The function `name`: of `functions` (passed in Python) first, of entry point group `group` otherwise.

    Raises ConfigError with the nearest name when there is none, or with the cause when it cannot be loaded.
    """
    if name in functions:
        return functions[name]
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        near = difflib.get_close_matches(name, [*points, *functions], n=1)
        known = f"did you mean {near[0]!r}?" if near else f"known: {sorted([*points, *functions]) or 'none'}"
        raise ConfigError(f"no entry point {name!r} in group {group!r}", f"{known} Install the package that declares it")
    try:
        function = points[name].load()
    except Exception as error:
        raise ConfigError(
            f"entry point {name!r} of group {group!r} cannot be loaded: {type(error).__name__}: {error}",
            f"mend {points[name].value}",
        ) from error
    if not callable(function):
        raise ConfigError(f"entry point {name!r} of group {group!r} is a {type(function).__name__}", "name a function")
    return function


def version(function: Callable[..., Any]) -> str:
    """The digest of a user's source, so that an edited function is another component; its name where there is no source."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = getattr(function, "__qualname__", repr(type(function)))
    return "u" + blake2b(source.encode(), digest_size=6).hexdigest()
