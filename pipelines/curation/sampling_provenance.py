"""Who sampled the groups of a dataset, and how: what a trainer must know to refuse data that its loss does not hold for.

It goes into `dataset.json`, so that the dataset can be judged where the run is not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.metrics.voting.consensus import ConsensusConfig
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.store.store import Store

_CONSTRAINTS = {"schema", "grammar"}
_POLICY = ["policy_id", "iteration", "weights_digest", "tokenizer_digest", "template_digest"]


def of(store: Store, crops: Sequence[Crop], rows: pa.Table, votes: ConsensusConfig | None = None) -> dict[str, Any]:
    """How the rows of view `group` were sampled: `policies` and `samplings` as stored, `stop_rules` and
    `label_sources` as lists, how many rollouts had a schema or grammar (`constrained`), and the share a vote needed."""
    mine = rows.filter(pc.equal(rows["view"], "group"))
    used, constrained = _samplings(store, crops, mine["rollout_id"].combine_chunks())
    groups = store.read("groups", [crop.groups for crop in crops], ["group_id", "stop_rule"])
    groups = groups.filter(pc.is_in(groups["group_id"], value_set=mine["group_id"].combine_chunks()))
    return {
        "policies": _rows(store, "policies", set(mine["policy_id"].to_pylist()), _POLICY),
        "samplings": _rows(store, "samplings", used),
        "stop_rules": sorted(set(groups["stop_rule"].to_pylist()) - {None}),
        "label_sources": sorted(set(mine["label_source"].to_pylist()) - {None}),
        "constrained": constrained,
        "vote_threshold": None if votes is None else votes.share,
    }


def _samplings(store: Store, crops: Sequence[Crop], rollouts: pa.Array) -> tuple[set[str], int]:
    sampled = [m for crop in crops for m in crop.rollouts]
    rows = store.among("rollouts", sampled, "rollout_id", rollouts, ["rollout_id", "sampling_id", "meta"])
    constrained = sum(bool(_CONSTRAINTS & json.loads(meta).keys()) for meta in rows["meta"].to_pylist() if meta)
    return set(rows["sampling_id"].to_pylist()), constrained


def _rows(store: Store, table: str, ids: set[str], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a table whose first column is wanted, in the order of that id."""
    rows = store.read(table, columns=columns)
    key = rows.column_names[0]
    return rows.filter(pc.is_in(rows[key], value_set=pa.array(sorted(ids), pa.string()))).sort_by(key).to_pylist()
