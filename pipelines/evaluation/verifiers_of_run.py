"""A run's verifiers against its hidden truth, and its pass rates seen through what was planted. Asks no model.

Only populations are corrected (all rollouts of a round, all of a suite): one group's false verdicts are no population.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply, schema
from ratoon.errors import DataError
from ratoon.metrics.qdc.quality import corrected_pass_rate, pass_rate
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifier_errors import on_real_replies as naturals
from ratoon.metrics.verifier_errors.error_rates import Measured
from ratoon.metrics.verifier_errors.on_real_replies import Natural
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest, Store

_ROLLOUT = ["rollout_id", "task_id", *reply.COLUMNS, "finish_reason"]
_SCORE = ["subject_kind", "subject_id", "scorer", "version", "status", "detail"]


def measure_run(root: Path, measured: Sequence[Measured]) -> tuple[list[Natural], list[dict[str, Any]]]:
    """Natural rates, and one dict per round (or suite) and verifier: observed and corrected pass rate, or why there is none.

    Rates of the versions that `measured` are of; rows of both go to the run's `measures`. Raises DataError where the run has
    no rollouts yet.
    """
    with Store.writer(root) as store:
        inputs = [*store.find("tasks"), *store.find("rollouts"), *store.find("scores"), *store.find("groups")]
        if not store.find("rollouts"):
            raise DataError(f"{root} has no rollouts yet", "`ratoon run` it first, or leave --run out")
        found = _natural(store)
        rates = [row for groups in store.find("groups") for row in _corrected(store, groups, measured)]
        rows = pa.concat_tables([naturals.table(found), _table(rates)])
        config = {one.verifier: [one.version, one.fpr, one.fnr] for one in measured}
        wanted = key("verifiers", None, "natural", config=config, inputs=inputs, versions={"natural": naturals.VERSION})
        run_stage(store, wanted, lambda: Built({"measures": rows}, Counts(rows.num_rows, rows.num_rows)))
    return found, rates


def _natural(store: Store) -> list[Natural]:
    oracles = store.read("oracles")
    if not oracles.num_rows:
        return []
    rollouts, scores = store.read("rollouts", columns=_ROLLOUT), store.read("scores", columns=_SCORE)
    return naturals.natural(reply.answered(rollouts), scores, store.read("tasks", columns=["task_id", "verifier"]), oracles)


def _corrected(store: Store, groups: Manifest, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row per verifier of a harvest."""
    rows = store.read(
        "groups", [groups], columns=["task_id", "scorer", "scorer_version", "label_source", "n_valid", "n_passed"]
    )
    rows = rows.filter(pc.equal(rows["label_source"], "verifier"))
    known: Mapping[tuple[str, str], Measured] = {(one.verifier, one.version): one for one in measured}
    found = []
    for pair in rows.group_by(["scorer", "scorer_version"]).aggregate([]).sort_by("scorer").to_pylist():
        mine = rows.filter(
            pc.and_(pc.equal(rows["scorer"], pair["scorer"]), pc.equal(rows["scorer_version"], pair["scorer_version"]))
        )
        observed = pass_rate(mine, clusters=_keys(store, mine["task_id"]))
        if observed is None:
            continue
        value, why = _correct(observed, known.get((pair["scorer"], pair["scorer_version"])))
        found.append(
            {"iteration": groups.iteration, "of": groups.shard, "verifier": pair["scorer"], "version": pair["scorer_version"],
             "observed": observed, "corrected": value, "why": why}
        )  # fmt: skip
    return found


def _keys(store: Store, task_ids: pa.ChunkedArray) -> list[str]:
    """Problem keys, so that one problem in several wordings is one trial."""
    tasks = store.read("tasks", columns=["task_id", "problem_key"])
    at = pc.index_in(task_ids, value_set=tasks["task_id"].combine_chunks())
    return tasks["problem_key"].combine_chunks().take(at).to_pylist()


def _correct(observed: Estimate, measured: Measured | None) -> tuple[Estimate | None, str | None]:
    """The corrected rate, or why there is none."""
    if measured is None:
        return None, "this version of the verifier was not measured"
    if measured.fpr is None or measured.tpr is None:
        return None, "its planted rates are unknown"
    try:
        return corrected_pass_rate(observed, measured.fpr, measured.tpr), None
    except DataError as error:
        return None, error.message


def _table(rates: Sequence[dict[str, Any]]) -> pa.Table:
    rows = []
    for row in rates:
        common = {
            "scope_kind": "verifier",
            "scope_id": row["verifier"],
            "version": row["version"],
            "iteration": row["iteration"],
        }
        for name in ("observed", "corrected"):
            if row[name] is not None:
                params = json.dumps({"of": row["of"], "why": row["why"]})
                rows.append(common | {"metric": f"{name}_pass_rate/{row['of']}", "params": params} | row[name]._asdict())
    return schema.from_rows("measures", rows)
