"""Values as JSON that keeps their types: what the two sides of a judged program say to each other. Never imported by ratoon.

Loaded as module `values` inside the sandbox, by the program's side and by the tests' side. A value that has no plain form (an
object of the program's own) is only referred to; subclasses of plain types are told as the plain type, without their methods.
"""

import collections
import datetime
import decimal
import fractions
import json
import sys
from collections.abc import Callable
from typing import Any

sys.set_int_max_str_digits(0)
DEEPEST = 150
# The plain type's own methods are called, not those of a subclass.
SEVERAL: tuple[Any, ...] = (list, tuple, set, frozenset, collections.deque)
MOMENTS: tuple[Any, ...] = (datetime.datetime, datetime.date, datetime.time)
Tell = Callable[[Any], list[Any]]
Find = Callable[[list[Any]], Any]


def encode(value: Any, refer: Tell, depth: int = 0) -> Any:
    """`value` for `json.dumps`. Raises ValueError where it is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError("a value is nested too deeply")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return ["float", float.__repr__(value)]
    if isinstance(value, dict):
        name = next(kind.__name__ for kind in (collections.Counter, collections.OrderedDict, dict) if isinstance(value, kind))
        pairs = dict.items(value)
        return [name, [[encode(key, refer, depth + 1), encode(item, refer, depth + 1)] for key, item in pairs]]
    for kind in SEVERAL:
        if isinstance(value, kind):
            items = [encode(item, refer, depth + 1) for item in kind.__iter__(value)]
            return [kind.__name__, sorted(items, key=json.dumps) if kind in (set, frozenset) else items]
    return _scalar(value) or refer(value)


def _scalar(value: Any) -> Any:
    """A value of another plain type; None of any other."""
    if isinstance(value, bytes | bytearray):
        return [type(value).__name__ if type(value) is bytearray else "bytes", bytes(value).decode("latin-1")]
    if isinstance(value, complex):
        return ["complex", complex.__repr__(value)]
    if isinstance(value, fractions.Fraction):
        return ["Fraction", f"{value.numerator}/{value.denominator}"]
    if isinstance(value, decimal.Decimal):
        return ["Decimal", decimal.Decimal.__str__(value)]
    if isinstance(value, range):
        return ["range", [value.start, value.stop, value.step]]
    if isinstance(value, datetime.timedelta):
        return ["timedelta", [value.days, value.seconds, value.microseconds]]
    for kind in MOMENTS:
        if isinstance(value, kind):
            return [kind.__name__, kind.isoformat(value)]
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return encode(value.item(), lambda _: [])
    return None


MAKE: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": complex,
    "bytes": lambda text: text.encode("latin-1"),
    "bytearray": lambda text: bytearray(text.encode("latin-1")),
    "Fraction": fractions.Fraction,
    "Decimal": decimal.Decimal,
    "range": lambda parts: range(*parts),
    "timedelta": lambda parts: datetime.timedelta(*parts),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
}
HOLDERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": collections.deque,
}
PAIRS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": lambda pairs: collections.Counter(dict(pairs)),
}


def decode(said: Any, find: Find) -> Any:
    """What `encode` told, made of plain types only; whatever it is told instead raises an Exception."""
    if said is None or isinstance(said, bool | int | str):
        return said
    name, inside = said[0], said[1]
    if name in MAKE:
        return MAKE[name](inside)
    if name in HOLDERS:
        return HOLDERS[name]([decode(item, find) for item in inside])
    if name in PAIRS:
        return PAIRS[name]([(decode(key, find), decode(item, find)) for key, item in inside])
    return find(said)


def line(facts: Any) -> bytes:
    """One message."""
    return (json.dumps(facts) + "\n").encode()
