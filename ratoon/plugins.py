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
    """The digest of a user's source, so that an edited function is another component; its name where there is no source.

    The whole module counts, because helpers beside the function decide too; other modules it imports do not.
    """
    name = getattr(function, "__qualname__", repr(type(function)))
    source = "\x1f".join([name, _source(function), _source(inspect.getmodule(function))])
    return "u" + blake2b(source.encode(), digest_size=6).hexdigest()


def _source(thing: Any) -> str:
    """The source text, empty where there is none: built in, or typed at a prompt."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""
