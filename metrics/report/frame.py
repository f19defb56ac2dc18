"""The rows an audit looks at, whoever made them: one canonical table, and what is counted of each row without a model.

Unknown columns are null. `task_id` groups the rows of one problem; a file without groups has one per unlike prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon import hashes
from ratoon.columns import numbers
from ratoon.metrics.qdc import complexity
from ratoon.metrics.text import lint

_S, _F, _I, _B = pa.string(), pa.float64(), pa.int64(), pa.bool_()
FRAME = pa.schema(
    [
        ("row_id", _S), ("place", _S), ("task_id", _S), ("iteration", pa.int32()), ("prompt", _S), ("completion", _S),
        ("gold", _S), ("answer", _S), ("passed", _B), ("reward", _F), ("pass_rate", _F), ("group_n", _I), ("vote", _S),
        ("vote_share", _F), ("n_tokens", _I), ("finish_reason", _S), ("label_source", _S), ("family", _S), ("split", _S),
        ("decision", _S), ("reason", _S),
    ]
)  # fmt: skip
COUNTED = ("chars", "words", "lines", "stop_words", "top_2", "top_3", "top_4", "dup_5", "dup_10", "dup_line_share",
           "alpha_share", "script", "script_share", "empty", "refusal", "echo", "sentences", "blocks", "equations", "operators",
           "operator_kinds", "steps", "verification", "backtracking", "subgoals", "backward_chaining")  # fmt: skip
BEHAVIOURS = ("verification", "backtracking", "subgoals", "backward_chaining")
_LONG = 10  # words from which two equal replies to one prompt are no coincidence


def frame(columns: Mapping[str, Any], n: int) -> pa.Table:
    """A table of FRAME from some of its columns; the others are null."""
    arrays = []
    for field in FRAME:
        found = columns.get(field.name)
        if found is None:
            arrays.append(pa.nulls(n, field.type))
        elif isinstance(found, pa.Array | pa.ChunkedArray):
            arrays.append(found if found.type == field.type else found.cast(field.type))
        else:
            arrays.append(pa.array(found, field.type))
    return pa.Table.from_arrays(arrays, schema=FRAME)


def text_of(rows: pa.Table) -> pa.ChunkedArray:
    """What is audited as the row's text: the completion, or the prompt where no row has one."""
    return rows["completion"] if rows["completion"].null_count < rows.num_rows else rows["prompt"]


def counted(rows: pa.Table) -> pa.Table:
    """COUNTED of each row's text, in order: lint, structure, behaviours, echo of the prompt."""
    text = text_of(rows)
    found: dict[str, Any] = {}
    for table in (lint.lint(text), complexity.structure(text), complexity.behaviours(text)):
        found |= dict(zip(table.column_names, table.columns, strict=True))
    both = rows["completion"].null_count < rows.num_rows and rows["prompt"].null_count < rows.num_rows
    found["echo"] = lint.echo(rows["completion"], rows["prompt"]) if both else pa.nulls(rows.num_rows, _F)
    return pa.table({name: found[name] for name in COUNTED})


def judged(rows: pa.Table) -> bool:
    """Whether any row says how it was judged."""
    return any(rows[name].null_count < rows.num_rows for name in ("passed", "pass_rate"))


def duplicates(rows: pa.Table, words: NDArray[np.int64]) -> pa.Array:
    """The id of the first row, in id order, with the same prompt and text; null for that row itself.

    Replies of few words to one prompt are equal by chance where several were sampled: there they do not count.
    """
    n = rows.num_rows
    digests = hashes.text_digests(text_of(rows))
    if rows["prompt"].null_count < n and rows["completion"].null_count < n:
        asked = hashes.text_digests(rows["prompt"])
        digests = np.column_stack(
            [hashes.mix(digests[:, 0] + hashes.mix(asked[:, 0])), hashes.mix(digests[:, 1] ^ asked[:, 1])]
        )
    order = np.asarray(pc.sort_indices(rows["row_id"]))
    keys = digests[order].copy().view([("hi", np.uint64), ("lo", np.uint64)]).reshape(-1)
    _, first, at = np.unique(keys, return_index=True, return_inverse=True)
    leader = np.empty(n, np.int64)
    leader[order] = order[first[at]]
    again = leader != np.arange(n)
    again &= ~np.asarray(pc.is_null(text_of(rows)))
    if judged(rows):
        again &= words >= _LONG
    return pc.if_else(pa.array(again), rows["row_id"].combine_chunks().take(pa.array(leader)), pa.scalar(None, _S))


def truncated(rows: pa.Table, counts: pa.Table) -> tuple[pa.Array, str]:
    """Whether each text was cut off, and how that is known: by finish_reason, or by texts that end, unfinished, at one length.

    Without a finish reason a cut shows as many texts of one greatest length (characters, words or tokens) that end without a
    closing sign, three times as often as other texts do; null where nothing tells.
    """
    if rows["finish_reason"].null_count < rows.num_rows:
        return pc.equal(rows["finish_reason"], "length").combine_chunks(), "finish_reason"
    text = text_of(rows)
    ended = np.asarray(pc.fill_null(pc.match_substring_regex(text, r"[.!?。！？…:;)\]}\"'`*>|$]\s*$"), False))
    found = np.zeros(rows.num_rows, bool)
    for column in (counts["chars"], counts["words"], rows["n_tokens"], _pieces(text)):
        values = numbers(column)
        known = values[~np.isnan(values)]
        if len(known) < 20:
            continue
        top = values == known.max()
        open_ = top & ~ended
        elsewhere = (~ended[~top]).mean() if (~top).any() else 1.0
        if open_.sum() >= max(3, 0.01 * len(known)) and open_.sum() / top.sum() > max(0.2, 3 * elsewhere):
            found |= open_
    return pa.array(found, mask=np.asarray(pc.is_null(text))), "pile-up at the greatest length"


def _pieces(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Words as blanks cut them: a limit by words is kept by these."""
    return pc.count_substring_regex(text, r"\S+")
