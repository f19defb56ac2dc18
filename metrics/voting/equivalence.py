"""Answers that are the same in other symbols become one class; knows no parser, only whom to ask.

Only keys that differ are compared, two plain numbers never (their keys are exact). Equivalence is not transitive near a
float tolerance, so every key is held against a fixed representative: within a group the most frequent key comes first (then
the smaller text), and a key joins the first representative that it equals. No order of rows changes a class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.voting.plurality import Ints

SAME = "same_math"
"""The name under which a verifier pool knows `verifiers.math.same`."""
_NUMBER = re.compile(r"-?\d+(?:/\d+)?")
Pair = tuple[int, int]


def merged(group: Ints, choice: Ints, values: pa.Array, texts: pa.ChunkedArray, same: Callable[..., list[bool]]) -> Ints:
    """`choice` with each answer's code replaced by that of its class's representative; -1 stays.

    `same` gets pairs of replies, the representative's first, and says which are equivalent; rows are in a fixed order, since
    a key is shown by the first reply that gave it.
    """
    keys = values.to_pylist()
    shown = _first_rows(choice)
    left = _ordered(group, choice, keys)
    known: dict[Pair, bool] = {}
    into: dict[tuple[int, int], int] = {}
    while left:
        heads = {g: codes[0] for g, codes in left.items()}
        asked = sorted({(heads[g], c) for g, codes in left.items() for c in codes[1:]} - known.keys())
        known |= _compared(asked, keys, shown, texts, same)
        rest = {}
        for g, codes in left.items():
            joined = [c for c in codes[1:] if known[heads[g], c]]
            into |= {(g, c): heads[g] for c in joined}
            if others := [c for c in codes[1:] if c not in joined]:
                rest[g] = others
        left = rest
    if not into:
        return choice
    out = choice.copy()
    for i, at in enumerate(zip(group.tolist(), choice.tolist(), strict=True)):
        out[i] = into.get(at, at[1])
    return out


def by_math(pool: VerifierPool, args: Mapping[str, Any]) -> Callable[[list[tuple[str, str]]], list[bool]]:
    """Asks math-verify in a pool that was opened with `extra={SAME: math.same}`; what cannot be judged is not the same."""

    def same(pairs: list[tuple[str, str]]) -> list[bool]:
        return [v.status == "pass" for v in pool.run([Item(SAME, reply, first, args) for first, reply in pairs])]

    return same


def _first_rows(choice: Ints) -> dict[int, int]:
    codes, rows = np.unique(choice, return_index=True)
    return dict(zip(codes.tolist(), rows.tolist(), strict=True))


def _ordered(group: Ints, choice: Ints, keys: list[Any]) -> dict[int, list[int]]:
    """Per group with more than one key, its keys: most frequent first, then by text."""
    voting = choice >= 0
    pairs, counts = np.unique(np.stack([group[voting], choice[voting]], 1), axis=0, return_counts=True)
    found: dict[int, list[tuple[int, str, int]]] = {}
    for (g, c), n in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(g, []).append((-n, keys[c], c))
    return {g: [c for _, _, c in sorted(rows)] for g, rows in found.items() if len(rows) > 1}


def _compared(
    asked: list[Pair], keys: list[Any], shown: dict[int, int], texts: pa.ChunkedArray, same: Callable[..., list[bool]]
) -> dict[Pair, bool]:
    """What of the pairs is equivalent; two plain numbers with different keys are not, and need no asking."""
    open_pairs = [p for p in asked if not all(_NUMBER.fullmatch(keys[c]) for c in p)]
    said = [(texts[shown[a]].as_py(), texts[shown[b]].as_py()) for a, b in open_pairs]
    return dict.fromkeys(asked, False) | dict(zip(open_pairs, same(said) if said else [], strict=True))
