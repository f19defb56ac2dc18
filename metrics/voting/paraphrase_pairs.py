"""Two wordings of one problem label each other (Co-Reward, 2508.00410): a vote counts only where the twin's says the same.

A mistake that one wording invites wins the vote of that wording alone, and would label itself. Here the label of each view is
the other view's vote; where both have an accepted vote and the two differ, the rewrite changed the answer or a view errs as
one, and nobody knows which: both lose their label and are counted. Knows groups and scores, no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.metrics.stats.calibration import rate
from ratoon.metrics.voting.consensus import Labels

VERSION = "twins-1"
CHANGED, OPEN, ALONE = "twin_changed", "twin_open", "twin_absent"
_LOST = pa.array([CHANGED, OPEN, ALONE])
_VIEW = ("policy_id", "sampling_id", "role")
_NO_RATE = ("pass_rate", "pass_lo", "pass_hi")


def twins(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """From a rewritten task to its parent, and from a parent to its rewrite of least id, among rows of `tasks`."""
    ids = {row["task_id"] for row in tasks}
    found: dict[str, str] = {}
    for row in sorted(tasks, key=lambda row: row["task_id"]):
        parent = (row["parent_ids"] or [None])[0]
        if parent in ids:
            found[row["task_id"]] = parent
            found.setdefault(parent, row["task_id"])
    return found


def crossed(labels: Labels, rollouts: pa.Table, twin_of: Mapping[str, str]) -> Labels:
    """`labels` with every accepted vote held against the twin's; `twin_of` as from `twins`, `rollouts` (rollout_id, group_id).

    An accepted group whose twin was not asked is `twin_absent`, one whose twin has no accepted vote `twin_open`, one whose twin
    says another thing `twin_changed`: none of them is a label, and their rollouts abstain.
    """
    rows = labels.groups.to_pylist()
    by_view = {(row["task_id"], *(row[name] for name in _VIEW)): row for row in rows}
    held = [_held(row, by_view.get((twin_of.get(row["task_id"], ""), *(row[name] for name in _VIEW)))) for row in rows]
    groups = schema.from_rows("groups", held).sort_by("group_id")
    return Labels(groups, _abstaining(labels.scores, rollouts, groups))


def _held(row: dict[str, Any], twin: Mapping[str, Any] | None) -> dict[str, Any]:
    """A group's row after it was held against its twin's."""
    row = row | {"scorer_version": f"{row['scorer_version']}+{VERSION}"}
    if row["vote_status"] != "accepted":
        return row
    if twin is None:
        status = ALONE
    elif twin["vote_status"] != "accepted":
        status = OPEN
    elif twin["vote"] != row["vote"]:
        status = CHANGED
    else:
        return row
    return row | {"vote_status": status, "n_valid": 0, "n_passed": 0} | dict.fromkeys(_NO_RATE)


def _abstaining(scores: pa.Table, rollouts: pa.Table, groups: pa.Table) -> pa.Table:
    """Rollouts of groups that lost their label agree with nothing; the group's status is their detail."""
    lost = groups.filter(pc.is_in(groups["vote_status"], value_set=_LOST))
    at = pc.index_in(scores["subject_id"], value_set=rollouts["rollout_id"].combine_chunks())
    group = rollouts["group_id"].combine_chunks().take(at.combine_chunks() if isinstance(at, pa.ChunkedArray) else at)
    place = pc.index_in(group, value_set=lost["group_id"].combine_chunks())
    status = scores["status"].combine_chunks()
    hit = pc.and_(place.is_valid(), pc.is_in(status, value_set=pa.array(["pass", "fail"])))
    changed = {
        "status": pc.if_else(hit, "abstain", status),
        "detail": pc.if_else(hit, lost["vote_status"].combine_chunks().take(place), scores["detail"].combine_chunks()),
        "value": pc.if_else(hit, pa.scalar(None, pa.float64()), scores["value"].combine_chunks()),
        "version": pc.binary_join_element_wise(scores["version"].combine_chunks(), pa.scalar(VERSION), "+"),
    }
    return schema.from_columns("scores", {name: changed.get(name, scores[name]) for name in scores.column_names}, len(status))


def measures(groups: pa.Table, *, iteration: int) -> pa.Table:
    """Table `measures`: of groups whose own vote was accepted, the shares that lost their label, by reason."""
    status = groups.filter(pc.is_in(groups["vote_status"], value_set=pa.array(["accepted", *_LOST.to_pylist()])))["vote_status"]
    found = status.to_pylist()
    if not found:
        return schema.empty("measures")
    common = {"scope_kind": "iteration", "scope_id": str(iteration), "iteration": iteration, "version": VERSION}
    rows = [
        common | {"metric": f"consensus/{name}"} | rate(found.count(name), len(found))._asdict() for name in _LOST.to_pylist()
    ]
    return schema.from_rows("measures", rows)
