"""Arithmetic on whole numbers, made by rule: several operations, operands of chosen sizes, the answer known.

The problem key is the operation with its operands, sorted where their order changes nothing, so `3 + 4` and `4 + 3` in any
wording are one problem. Problems are picked by hash of (seed, problem), never by seed + i: a larger `n` keeps all that a
smaller one had, and no two seeds are shifted copies of each other.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import ConfigError
from ratoon.generators.tasks.task_rows import Proposal, oracle_row, proposal, task_row
from ratoon.messages import user

NAMES = "abc"
# Spaces up to the first size are listed, up to the second only where drawing does not find enough.
_LISTED, _LISTABLE = 50_000, 1_000_000


class Operation(NamedTuple):
    """How many operands, whether their order matters, the truth, which operands are allowed (NumPy too), how it is asked.

    `mend` turns drawn operands into near ones that are likelier to be allowed; few random pairs divide.
    """

    operands: int
    commutative: bool
    truth: Callable[..., int]
    allowed: Callable[..., Any]
    wording: str
    mend: Callable[..., tuple[int, ...]] | None = None


def _any(*operands: Any) -> Any:
    return operands[0] == operands[0]


OPERATIONS: dict[str, Operation] = {
    "add": Operation(2, True, lambda a, b: a + b, _any, "What is {a} + {b}? Reply with just the number."),
    "subtract": Operation(2, False, lambda a, b: a - b, lambda a, b: a >= b, "What is {a} - {b}? Reply with just the number."),
    "multiply": Operation(2, True, lambda a, b: a * b, _any, "What is {a} * {b}? Reply with just the number."),
    "divide": Operation(
        2, False, lambda a, b: a // b, lambda a, b: (b > 1) & (a % (b + (b == 0)) == 0) & (a > 0),
        "What is {a} / {b}? Reply with just the number.", lambda a, b: (a - a % max(b, 1), b),
    ),
    "remainder": Operation(
        2, False, lambda a, b: a % b, lambda a, b: (b > 1) & (a > b),
        "What is the remainder when {a} is divided by {b}? Reply with just the number.",
    ),
    "compare": Operation(
        2, True, max, lambda a, b: a != b, "Which number is larger, {a} or {b}? Reply with just the number."
    ),
    "add3": Operation(3, True, lambda a, b, c: a + b + c, _any, "What is {a} + {b} + {c}? Reply with just the number."),
    "max3": Operation(
        3, True, max, lambda a, b, c: (a != b) & (b != c) & (a != c),
        "Which number is the largest: {a}, {b} or {c}? Reply with just the number.",
    ),
    "min3": Operation(
        3, True, min, lambda a, b, c: (a != b) & (b != c) & (a != c),
        "Which number is the smallest: {a}, {b} or {c}? Reply with just the number.",
    ),
}  # fmt: skip

OperationName = Literal["add", "subtract", "multiply", "divide", "remainder", "compare", "add3", "max3", "min3"]
Digits = int | tuple[int, int]


class ArithmeticConfig(Config):
    """One arm of arithmetic problems."""

    source: Literal["arithmetic"] = Field("arithmetic", description="this task source")
    name: str = Field("", description="the arm's name, `family` of its tasks; operation and digits if not set")
    operation: OperationName = Field(description="what is asked; differences are never negative, quotients always whole")
    digits: tuple[Digits, ...] = Field(
        (1,), description="digits of each operand, a number or [fewest, most]; one entry counts for all"
    )
    n: int = Field(ge=1, description="how many distinct problems (problem keys)")
    wordings: tuple[str, ...] = Field(
        (), description="prompts with {a}, {b}, {c}; each problem gets one by hash; the default if none"
    )
    verifier: str = Field("numeric", description="the verifier of these tasks")
    verifier_args: dict[str, Any] = Field(default_factory=dict, description="the verifier's arguments")

    @field_validator("digits")
    @classmethod
    def _sizes(cls, digits: tuple[Digits, ...]) -> tuple[Digits, ...]:
        for low, high in map(_span, digits):
            if not 1 <= low <= high <= 9:
                raise ValueError(f"{low} to {high} digits: an operand has 1 to 9 digits, fewest first")
        return digits

    @model_validator(mode="after")
    def _fits(self) -> ArithmeticConfig:
        count = OPERATIONS[self.operation].operands
        if len(self.digits) not in (1, count):
            raise ValueError(f"digits has {len(self.digits)} entries; {self.operation!r} takes 1 or {count}")
        for wording in self.wordings:
            _check_wording(wording, NAMES[:count])
        return self

    @property
    def level(self) -> str:
        """`1x1`, `2x1`, `1-2x1-2`: digits per operand."""
        return "x".join(str(low) if low == high else f"{low}-{high}" for low, high in _spans(self))

    @property
    def family(self) -> str:
        return self.name or f"{self.operation}-{self.level}"


def _span(digits: Digits) -> tuple[int, int]:
    return (digits, digits) if isinstance(digits, int) else digits


def _spans(config: ArithmeticConfig) -> list[tuple[int, int]]:
    count = OPERATIONS[config.operation].operands
    return [_span(d) for d in (config.digits * count if len(config.digits) == 1 else config.digits)]


def _check_wording(wording: str, names: str) -> None:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(wording) if name is not None}
    except ValueError as error:
        raise ValueError(f"wording {wording!r}: {error}") from None
    if fields != set(names):
        wanted = ", ".join(f"{{{name}}}" for name in names)
        raise ValueError(f"wording {wording!r} must hold exactly {wanted}")


def propose(config: ArithmeticConfig, seed: int, taken: frozenset[str] = frozenset()) -> Proposal:
    """`config.n` tasks of distinct problem keys, none of them in `taken`, each with its oracle.

    Raises ConfigError naming the most there are when the operands allow fewer.
    """
    rows, oracles = [], []
    for operands in _problems(config, seed, taken):
        row = _row(config, operands, seed)
        rows.append(row)
        oracles.append(oracle_row(row, row["answer"]))
    return proposal(rows, oracles)


def problem_key(operation: str, operands: tuple[int, ...]) -> str:
    """`add:3,4` for 4 + 3 too."""
    ordered = sorted(operands) if OPERATIONS[operation].commutative else operands
    return f"{operation}:{','.join(map(str, ordered))}"


def _row(config: ArithmeticConfig, operands: tuple[int, ...], seed: int) -> dict[str, Any]:
    operation = OPERATIONS[config.operation]
    key = problem_key(config.operation, operands)
    wordings = config.wordings or (operation.wording,)
    item_seed = ids.derive_seed(seed, "arithmetic/wording", key)
    wording = wordings[item_seed % len(wordings)]
    return task_row(
        source="arithmetic",
        family=config.family,
        level=config.level,
        messages=[user(wording.format(**dict(zip(NAMES, operands, strict=False))))],
        problem_key=key,
        answer=str(operation.truth(*operands)),
        verifier=config.verifier,
        verifier_args=config.verifier_args,
        seed=item_seed,
        meta={"operation": config.operation, "operands": list(operands), "wording": wordings.index(wording)},
    )


def _problems(config: ArithmeticConfig, seed: int, taken: frozenset[str]) -> list[tuple[int, ...]]:
    """`n` operand tuples of distinct keys, by hash."""
    found: dict[str, tuple[int, ...]] = {}
    for operands in _candidates(config, seed):
        key = problem_key(config.operation, operands)
        if key not in taken:
            found.setdefault(key, operands)
        if len(found) == config.n:
            return list(found.values())
    others = f" besides those of the {len(taken)} keys that other arms took" if taken else ""
    raise ConfigError(
        f"arm {config.family!r}: n = {config.n}, but {config.operation!r} on {config.level} digits has "
        f"{'only' if _size(config) <= _LISTABLE else 'been drawn for only'} {len(found)} distinct problems{others}",
        f"set n to at most {len(found)}, or give more digits",
    )


def _bounds(config: ArithmeticConfig) -> list[tuple[int, int]]:
    """Per operand the smallest and one past the largest; one digit includes 0."""
    return [(0 if low == 1 else 10 ** (low - 1), 10**high) for low, high in _spans(config)]


def _size(config: ArithmeticConfig) -> int:
    return math.prod(high - low for low, high in _bounds(config))


def _candidates(config: ArithmeticConfig, seed: int) -> Iterator[tuple[int, ...]]:
    if _size(config) <= _LISTED:
        return _listed(config, seed)
    if _size(config) <= _LISTABLE:
        return itertools.chain(_drawn(config, seed, 5 * config.n + 10_000), _listed(config, seed))
    return _drawn(config, seed, 200 * config.n + 10_000)


def _listed(config: ArithmeticConfig, seed: int) -> Iterator[tuple[int, ...]]:
    """Every allowed operand tuple, in the order of its hash; of two that are one problem the hash also picks the order."""
    grid = np.meshgrid(*[np.arange(low, high) for low, high in _bounds(config)], indexing="ij")
    columns = [axis.ravel() for axis in grid]
    fits = np.broadcast_to(OPERATIONS[config.operation].allowed(*columns), columns[0].shape)
    tuples = list(zip(*[column[fits].tolist() for column in columns], strict=True))
    stage = f"arithmetic/{config.operation}"
    hashes = [ids.derive_seed(seed, stage, ",".join(map(str, operands))) for operands in tuples]
    yield from (tuples[i] for i in sorted(range(len(tuples)), key=hashes.__getitem__))


def _drawn(config: ArithmeticConfig, seed: int, draws: int) -> Iterator[tuple[int, ...]]:
    operation, bounds = OPERATIONS[config.operation], _bounds(config)
    for i in range(draws):
        operands = tuple(
            low + ids.derive_seed(seed, f"arithmetic/{config.operation}/{axis}", i) % (high - low)
            for axis, (low, high) in enumerate(bounds)
        )
        operands = operation.mend(*operands) if operation.mend else operands
        if operation.allowed(*operands) and all(low <= x < high for x, (low, high) in zip(operands, bounds, strict=True)):
            yield operands
