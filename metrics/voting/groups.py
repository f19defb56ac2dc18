"""Rollouts of one prompt, policy and sampling as one row: pass rate with its interval, and the vote; knows no verifier.

Pass and fail are valid, abstain and error leave the denominator of the pass rate. Votes are counted on canonical answers of
replies that ended by themselves; the share's denominator is every reply that came back, answer or not, so that silence is
no agreement. A tie abstains; no order of rows can change a vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon import schema
from ratoon.columns import codes_and_values, codes_of, equal, truths
from ratoon.errors import Conservation, DataError
from ratoon.metrics.stats.estimators import wilson_columns
from ratoon.metrics.voting.plurality import Votes, plurality

Array = NDArray[Any]


def groups(
    rollouts: pa.Table, scores: pa.Table, assignments: pa.Table, label_sources: Mapping[str, str] | None = None
) -> pa.Table:
    """Table `groups`, one row per group and scorer, sorted by group id; a rollout without a score counts in n only.

    `scores` are those that label: one a rollout. `label_sources` names who a scorer speaks for, `verifier` where it is not
    named.
    Raises DataError when a rollout has two scores of one kind, Conservation when a rollout is in no group.
    """
    rows = _joined(rollouts, scores)
    made = _grouped(rows, planned(rollouts, assignments), label_sources or {})
    counted = int(pc.sum(made["n"]).as_py() or 0)
    if counted != rows.num_rows:
        raise Conservation(f"groups hold {counted} rollouts of {rows.num_rows}", "this is a fault of ratoon: please report it")
    return made


GROUP = ("group_id", "task_id", "prompt_id", "policy_id", "sampling_id", "role", "iteration")


def _joined(rollouts: pa.Table, scores: pa.Table) -> pa.Table:
    """Each rollout beside its score, nulls where it has none."""
    mine = scores.filter(pc.equal(scores["subject_kind"], "rollout")) if scores.num_rows else scores
    subjects = mine["subject_id"].combine_chunks() if mine.num_rows else pa.array([], pa.string())
    if pc.count_distinct(subjects).as_py() != len(subjects):
        raise DataError("a rollout has more than one score", "group the scores of one scorer and repeat at a time")
    at = pc.index_in(rollouts["rollout_id"], value_set=subjects)
    table = rollouts.select([*GROUP, "finish_reason"])
    for name in ("scorer", "version", "status", "answer", "detail"):
        table = table.append_column(
            name, mine[name].combine_chunks().take(at) if mine.num_rows else pa.nulls(len(at), pa.string())
        )
    return table


def planned(rollouts: pa.Table, assignments: pa.Table) -> dict[str, int]:
    """Rollouts planned per group: its prompt's and sampling's assignments in the iterations of its rollouts."""
    keys = [assignments[name].to_pylist() for name in ("iteration", "prompt_id", "sampling_id")]
    planned: dict[tuple[Any, ...], int] = {}
    for key, n in zip(zip(*keys, strict=True), assignments["n_planned"].to_pylist(), strict=True):
        planned[key] = planned.get(key, 0) + (n or 0)
    seen = rollouts.select(["group_id", "iteration", "prompt_id", "sampling_id"]).group_by(
        ["group_id", "iteration", "prompt_id", "sampling_id"]
    )
    out: dict[str, int] = {}
    for row in seen.aggregate([]).to_pylist():
        n = planned.get((row["iteration"], row["prompt_id"], row["sampling_id"]))
        if n is not None:
            out[row["group_id"]] = out.get(row["group_id"], 0) + n
    return out


def _grouped(rows: pa.Table, planned: dict[str, int], label_sources: Mapping[str, str]) -> pa.Table:
    group = codes_of(rows["group_id"])
    scorer = codes_of(rows["scorer"])
    version = codes_of(rows["version"])
    if (group < 0).any():
        raise DataError("a rollout has no group_id", "write group_id = ids.group_id(prompt, policy, sampling)")
    _, first, at = np.unique(np.stack([group, scorer, version], 1), axis=0, return_index=True, return_inverse=True)
    at, n_groups = at.reshape(-1), len(first)
    head = rows.take(pa.array(first))
    columns: dict[str, Any] = {name: head[name] for name in GROUP}
    # A group sampled over several iterations belongs to the latest.
    columns["iteration"] = latest(rows["iteration"], at, n_groups)
    columns |= {"scorer": head["scorer"], "scorer_version": head["version"]}
    columns["label_source"] = [None if s is None else label_sources.get(s, "verifier") for s in head["scorer"].to_pylist()]
    columns["n_planned"] = [planned.get(id) for id in head["group_id"].to_pylist()]
    columns |= _counts(rows, at, n_groups) | _votes(rows, at, n_groups)
    table = schema.from_columns("groups", columns, n_groups)
    return table.sort_by([("group_id", "ascending"), ("scorer", "ascending"), ("scorer_version", "ascending")])


def latest(iterations: pa.ChunkedArray, at: Array, n: int) -> pa.Array:
    """The newest iteration of each of `n` groups; null where none is known."""
    values = iterations.fill_null(-1).to_numpy().astype(np.int64)
    latest = np.full(n, -1, dtype=np.int64)
    np.maximum.at(latest, at, values)
    return pa.array(latest, pa.int32(), mask=latest < 0)


def _counts(rows: pa.Table, at: Array, n: int) -> dict[str, Any]:
    def count(mask: Array) -> Array:
        return np.bincount(at[mask], minlength=n)

    status, detail = rows["status"], rows["detail"]
    passed = count(equal(status, "pass"))
    valid = passed + count(equal(status, "fail"))
    unparsed = pc.or_(pc.equal(detail, "empty"), pc.starts_with(detail, "unparsed"))
    lo, hi = wilson_columns(passed, valid)
    none = valid == 0
    return {
        "n": np.bincount(at, minlength=n),
        "n_valid": valid,
        "n_passed": passed,
        "n_truncated": count(equal(rows["finish_reason"], "length")),
        "n_unparsed": count(truths(pc.and_(pc.equal(status, "fail"), unparsed))),
        "pass_rate": pa.array(passed / np.maximum(valid, 1), mask=none),
        "pass_lo": pa.array(lo, mask=none),
        "pass_hi": pa.array(hi, mask=none),
    }


def _votes(rows: pa.Table, at: Array, n: int) -> dict[str, Any]:
    """Plurality over canonical answers: winner, share, margin to the second, entropy in nats, and how it came out."""
    answer, values = codes_and_values(rows["answer"])
    back = truths(pc.is_valid(rows["status"])) & ~equal(rows["status"], "error")
    cut = equal(rows["finish_reason"], "length")
    votes = plurality(at, np.where(cut, -1, answer), back, n)
    return vote_columns(votes, values) | {
        "vote_status": np.where(votes.tie, "tie", np.where(votes.voters > 0, "plurality", "none")).tolist()
    }


def vote_columns(votes: Votes, values: pa.Array) -> dict[str, Any]:
    """`vote`, `vote_share`, `vote_margin` and `entropy`; null where nobody voted, no `vote` on a tie."""
    none = votes.voters == 0
    winner = pa.array(votes.winner, mask=votes.winner < 0)
    return {
        "vote": values.take(winner) if len(values) else pa.nulls(len(winner), pa.string()),
        "vote_share": pa.array(votes.share, mask=none),
        "vote_margin": pa.array(votes.margin, mask=none),
        "entropy": pa.array(votes.entropy, mask=none),
    }
