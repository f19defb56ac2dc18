"""Selects `n` rollouts that are good and unlike one another: greedy MAP of a determinantal point process, stratum by stratum.

L_ij = q_i (x_i . x_j) q_j over unit vectors; greedily the row that adds most to log det L, by incremental Cholesky (Chen et
al., 1709.05135). Each stratum is cut along its main direction into blocks of near rows; a block's share of `n` goes with the
root of its size times how much its tasks can still teach, p (1 - p). At most `cap` rollouts of a task stay. Every choice
follows from ids, scores and vectors alone: row order and shards change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon.columns import codes_of, numbers, whole
from ratoon.config import Config
from ratoon.filters.filter import Side, Verdicts, coded
from ratoon.filters.quality_floor import Stratum

VERSION = "1"
NEEDS = ("rollout_id", "family", "level", "task_id", "pass_rate")
SIDE = ("vectors",)
_ROWS = 16_384  # made float32 at once
_RIDGE = 1e-3  # so that a copy of a chosen row still has a place, the last one
_TAKEN, _CAP, _FULL, _BLIND = -1, 0, 1, 2


class DppConfig(Config):
    """Keep `n` rollouts, good and unlike one another."""

    kind: Literal["dpp"] = Field("dpp", description="this filter")
    n: int = Field(ge=1, description="rollouts kept in a round; all where there are no more")
    cap: int = Field(4, ge=1, description="most rollouts of one task")
    by: str = Field("value", description="the column of quality, ranked inside the stratum; unknown counts as the middle")
    strength: float = Field(0.5, ge=0, description="how much quality weighs against being unlike; 0 is not at all")
    stratum: Stratum = Field("family", description="what shares of `n` are given to")
    block: int = Field(512, ge=2, description="most rows compared with one another")


def keep(rows: pa.Table, config: DppConfig, side: Side) -> Verdicts:
    """Drops for `dpp:cap` (the task has its `cap`), `dpp` (not chosen), and `dpp:no_vector` where the text has none."""
    x = np.asarray(side["vectors"](whole(rows["rollout_id"])))
    seen = _seen(x)
    codes = np.full(rows.num_rows, _FULL)
    codes[~seen] = _BLIND
    stratum = np.zeros(rows.num_rows, np.int64) if config.stratum == "all" else codes_of(rows[config.stratum])
    blocks = [b for rows_of in _strata(stratum, seen) for b in _blocks(x, rows_of, config.block)]
    if blocks:
        quality, tasks = _quality(rows, config, stratum), codes_of(rows["task_id"])
        _choose(x, quality, tasks, blocks, _weights(rows, blocks), config, codes)
    return coded(codes, ["dpp:cap", "dpp", "dpp:no_vector"], thresholds=[config.cap, config.n, None])


def _strata(stratum: np.ndarray, seen: np.ndarray) -> Iterator[np.ndarray]:
    rows = np.flatnonzero(seen)
    order = rows[np.argsort(stratum[rows], kind="stable")]
    return iter(np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1) if len(order) else [])


def _seen(x: np.ndarray) -> np.ndarray:
    """Whether each row has a vector; rows are read in blocks, since all of them may not fit as float32."""
    parts = (x[start : start + _ROWS].astype(np.float32) for start in range(0, len(x), _ROWS))
    squares = np.concatenate([np.zeros(0, np.float32), *(np.einsum("ij,ij->i", part, part) for part in parts)])
    return np.isfinite(squares) & (squares > 0.5)


def _blocks(x: np.ndarray, rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """`rows` halved, each time where they vary most, until none holds more than `most`; rows ascend in each."""
    at = _coordinates(x, rows) if len(rows) > most else np.zeros((len(rows), 1))
    waiting = [np.arange(len(rows))]
    while waiting:
        part = waiting.pop()
        if len(part) <= most:
            yield rows[part]
            continue
        axis = int(at[part].var(axis=0).round(6).argmax())
        order = np.argsort(at[part, axis], kind="stable")
        half = len(part) // 2
        waiting += [np.sort(part[order[:half]]), np.sort(part[order[half:]])]


def _coordinates(x: np.ndarray, rows: np.ndarray, axes: int = 16) -> np.ndarray:
    """Each row on the first principal axes of at most 4,096 rows evenly taken, rounded against a machine's last bit."""
    sample = x[rows[:: max(1, len(rows) // 4096)]].astype(np.float64)
    _, eigenvectors = np.linalg.eigh(np.cov(sample, rowvar=False))
    main = eigenvectors[:, ::-1][:, :axes]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    parts = [
        x[rows[start : start + _ROWS]].astype(np.float32) @ main.astype(np.float32) for start in range(0, len(rows), _ROWS)
    ]
    return np.concatenate(parts).round(4)


def _quality(rows: pa.Table, config: DppConfig, stratum: np.ndarray) -> np.ndarray:
    """exp(strength * rank), rank from -1 to 1 inside the stratum, equals at their mean, unknown at 0."""
    score = numbers(rows[config.by])
    known = np.flatnonzero(~np.isnan(score))
    rank = np.zeros(len(score))
    for part in _strata(stratum[known], np.ones(len(known), bool)):
        _, at, counts = np.unique(score[known[part]], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2 - 1
        rank[known[part]] = 2 * middle[at] / max(len(part) - 1, 1) - 1 if len(counts) > 1 else 0
    return np.exp(config.strength * rank)


def _weights(rows: pa.Table, blocks: list[np.ndarray]) -> np.ndarray:
    rate = np.nan_to_num(numbers(rows["pass_rate"]), nan=0.5)
    teach = 0.05 + rate * (1 - rate)
    return np.array([np.sqrt(len(block)) * teach[block].mean() for block in blocks])


def _shares(n: int, weights: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Whole numbers that sum to min(n, room), in proportion to the weights, none above its room."""
    given = np.zeros(len(weights), np.int64)
    left = min(n, int(room.sum()))
    while left > 0:
        open_ = np.flatnonzero(room > given)
        exact = left * weights[open_] / weights[open_].sum()
        part = np.minimum(np.floor(exact).astype(np.int64), (room - given)[open_])
        if not part.any():
            part[np.argsort(-exact, kind="stable")[:left]] = 1
        given[open_] += part
        left -= int(part.sum())
    return given


def _choose(
    x: np.ndarray, quality: np.ndarray, tasks: np.ndarray, blocks: list[np.ndarray], weights: np.ndarray, config: DppConfig,
    codes: np.ndarray,
) -> None:  # fmt: skip
    """Write the codes of every row. Where caps keep a block from its share, the others are given what is left over."""
    per_task = np.zeros(int(tasks.max(initial=0)) + 2, np.int64)
    chosen, room = 0, np.array([len(rows) for rows in blocks])
    while chosen < config.n and room.any():
        shares = _shares(config.n - chosen, weights, room)
        for i in np.flatnonzero(shares):
            chosen += _Block(x, quality, blocks[i]).take(int(shares[i]), tasks, per_task, config.cap, codes)
            room[i] = np.count_nonzero(codes[blocks[i]] == _FULL)


class _Block:
    """The greedy state of one block: what each row would still add, and the Cholesky rows of those chosen."""

    def __init__(self, x: np.ndarray, quality: np.ndarray, rows: np.ndarray) -> None:
        self.rows = rows
        vectors = x[rows].astype(np.float32)
        self.weighted = vectors * (quality[rows] / np.linalg.norm(vectors, axis=1))[:, None].astype(np.float32)
        self.gain = np.square(quality[rows]) + _RIDGE
        self.factors = np.zeros((0, len(rows)))

    def take(self, n: int, tasks: np.ndarray, per_task: np.ndarray, cap: int, codes: np.ndarray) -> int:
        """Choose up to n more, unlike those chosen before and one another; the number chosen."""
        before = np.flatnonzero(codes[self.rows] == _TAKEN)
        self.factors = np.zeros((len(before) + n, len(self.rows)))
        for at, row in enumerate(before):
            self._add(int(row), at)
        got, open_ = 0, codes[self.rows] == _FULL
        while got < n and open_.any():
            best = int(np.argmax(np.where(open_, self.gain, -np.inf).round(6)))
            row = self.rows[best]
            open_[best] = False
            if tasks[row] >= 0 and per_task[tasks[row]] >= cap:
                codes[row] = _CAP
                continue
            per_task[tasks[row]] += tasks[row] >= 0
            codes[row] = _TAKEN
            self._add(best, len(before) + got)
            got += 1
        return got

    def _add(self, row: int, at: int) -> None:
        """What every row adds falls by what it shares with this one."""
        root = np.sqrt(max(self.gain[row], 1e-12))
        self.factors[at] = (self.weighted @ self.weighted[row] - self.factors[:at, row] @ self.factors[:at]) / root
        self.gain = np.maximum(self.gain - np.square(self.factors[at]), 0)
