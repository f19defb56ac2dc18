"""What replies answer, and what the rows of one task say together, where nobody stored it: for files made elsewhere.

The answer of a reply is its last \\boxed{…}, else its last number, else the whole reply where it is short; two answers are one
when they are the same number or the same words. That is cruder than a verifier's reading, and a note says so.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import codes_and_values, numbers
from ratoon.metrics.report.frame import FRAME
from ratoon.metrics.verifiers import numbers as reading
from ratoon.metrics.verifiers.extract import boxed
from ratoon.metrics.voting.plurality import plurality
from ratoon.text import normalise

_SHORT = 40


def read(text: str | None) -> str | None:
    """The canonical answer of one reply, or None.

    >>> [read(t) for t in ("so it is \\\\boxed{12}", "12.0 apples", "Yes!", None)]
    ['12', '12', 'yes', None]
    """
    if text is None:
        return None
    said = boxed(text)
    for part in (said, text):
        _, found = reading.last(part) if part else ("", [])
        if found and found[-1].value is not None:
            return reading.canonical(found[-1].value)
    rest = normalise(said if said is not None else text).strip(" .!?\"'")
    return rest if 0 < len(rest) <= _SHORT else None


def completed(rows: pa.Table) -> pa.Table:
    """The rows with `answer`, `vote`, `vote_share`, `pass_rate` and `group_n` filled in where they are null and can be told.

    Votes count every row of a task; a group needs two rows; pass rates need a verdict.
    """
    at, n = _tasks(rows)
    sizes = np.bincount(at, minlength=n)
    columns = {name: rows[name] for name in rows.column_names}
    several = bool((sizes > 1).any())
    if several and rows["answer"].null_count == rows.num_rows:
        columns["answer"] = pa.array([read(text) for text in rows["completion"].to_pylist()], pa.string())
    if several and rows["vote_share"].null_count == rows.num_rows:
        columns |= _votes(columns["answer"], at, sizes)
    if rows["pass_rate"].null_count == rows.num_rows and rows["passed"].null_count < rows.num_rows:
        columns |= _rates(rows, at, sizes)
    if columns["group_n"].null_count == rows.num_rows:
        columns["group_n"] = pa.array(sizes[at], pa.int64())
    return pa.table([columns[name] for name in FRAME.names], schema=FRAME)


def _tasks(rows: pa.Table) -> tuple[NDArray[np.int64], int]:
    at, known = codes_and_values(rows["task_id"])
    return at, len(known)


def _votes(answers: pa.ChunkedArray | pa.Array, at: NDArray[np.int64], sizes: NDArray[np.int64]) -> dict[str, pa.Array]:
    choice, values = codes_and_values(answers)
    found = plurality(at, choice, np.ones(len(at), bool), len(sizes))
    counted = (sizes > 1)[at]
    winner = found.winner[at]
    vote = pa.array(values).take(pa.array(np.maximum(winner, 0))) if len(values) else pa.nulls(len(at), pa.string())
    return {
        "vote": pc.if_else(pa.array(counted & (winner >= 0)), vote, pa.scalar(None, pa.string())),
        "vote_share": pa.array(found.share[at], mask=~counted),
    }


def _rates(rows: pa.Table, at: NDArray[np.int64], sizes: NDArray[np.int64]) -> dict[str, pa.Array]:
    passed = numbers(rows["passed"])
    known = ~np.isnan(passed)
    valid = np.bincount(at[known], minlength=len(sizes))
    rate = np.bincount(at[known], passed[known], minlength=len(sizes)) / np.maximum(valid, 1)
    return {"pass_rate": pa.array(rate[at], mask=(valid == 0)[at]), "group_n": pa.array(valid[at], pa.int64())}


def conflicts(rows: pa.Table) -> NDArray[np.bool_]:
    """Rows judged otherwise than most rows of their task with the same answer; ties count on the failing side.

    Needs answers; where two judged rows of one task give one answer and are judged unlike, one verdict is wrong.
    """
    passed = numbers(rows["passed"])
    at, _ = _tasks(rows)
    answer, values = codes_and_values(rows["answer"])
    known = ~np.isnan(passed) & (answer >= 0)
    key = at * max(len(values), 1) + answer
    _, code = np.unique(key, return_inverse=True)
    n = np.bincount(code[known], minlength=code.max(initial=-1) + 1)
    good = np.bincount(code[known], passed[known], minlength=len(n))
    most = good * 2 > n
    odd = known & (n[code] > 1) & (good[code] > 0) & (good[code] < n[code])
    return np.asarray(odd & ((passed == 1) != most[code]))


def against_gold(rows: pa.Table) -> NDArray[np.float64]:
    """1 where the verdict differs from what comparing answer and gold says, 0 where it agrees, NaN where that cannot be told.

    Only numbers are compared: other golds may be said in other words.
    """
    out = np.full(rows.num_rows, np.nan)
    passed = numbers(rows["passed"])
    golds, answers = rows["gold"].to_pylist(), rows["answer"].to_pylist()
    known: dict[str, str | None] = {}
    for i, (gold, answer) in enumerate(zip(golds, answers, strict=True)):
        if gold is None or answer is None or np.isnan(passed[i]):
            continue
        if gold not in known:
            found = reading.whole(gold)
            known[gold] = reading.canonical(found.value) if found is not None and found.value is not None else None
        if known[gold] is not None and _is_number(answer):
            out[i] = float((answer == known[gold]) != (passed[i] == 1))
    return out


def _is_number(answer: str) -> bool:
    return answer.replace("/", "", 1).removeprefix("-").isdigit()
