"""What filters may look at: one row a rollout, joined column by column from stored tables; never the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.errors import DataError
from ratoon.filters.filter import ascends
from ratoon.metrics.verifier_errors import weak_tests
from ratoon.metrics.voting.self_reward import trained_logprobs, trained_tokens
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import shard_of
from ratoon.store.store import Manifest, Store

STORED = ("text_hi", "text_lo")
_ROLLOUT = ["prompt_id", "role", "iteration", "text", "finish_reason", "error"]
_TASK = ["problem_key", "family", "level"]
_SCORE = ["status", "detail", "answer", "value"]
_GROUP = ["pass_rate", "pass_lo", "pass_hi", "n", "n_valid", "n_passed", "label_source", "vote", "vote_share", "vote_margin",
          "vote_status", "stop_rule"]  # fmt: skip


class _Stored(NamedTuple):
    """Ids of rollouts as they lie on disk, none twice, and their places in id order: columns beside them need no look-up."""

    ids: pa.Array
    order: pa.Array


def judges(store: Store, crop: Crop, needed: set[str] | None) -> list[Manifest]:
    """The judge's artifacts of a round, where column `judge` is needed, or all columns are."""
    if needed is not None and "judge" not in needed:
        return []
    manifests = (m for m in store.find("judge", crop.iteration) if shard_of(m, crop.purpose))
    return sorted(manifests, key=lambda m: m.shard or "")


def appeals(store: Store, crop: Crop) -> list[Manifest]:
    """The verdicts of a model on what the rules failed in a round."""
    found = (m for m in store.find("appeal", crop.iteration) if shard_of(m, crop.purpose))
    return sorted(found, key=lambda m: m.shard or "")


def tests_of_tasks(store: Store, needed: set[str] | None) -> list[Manifest]:
    """What tells how good the tasks' own tests are, where column `mutants_passed` is needed by name."""
    return store.find("verifiers", 0) if "mutants_passed" in (needed or ()) else []


def candidates(
    store: Store, crop: Crop, lint: Sequence[Manifest] = (), needed: set[str] | None = None, judged: Sequence[Manifest] = (),
    tests: Sequence[Manifest] = (), upheld: Sequence[Manifest] = (),
) -> pa.Table:  # fmt: skip
    """One row for each rollout, in id order, with the columns of `needed` (None: all); no others are in memory.

    `logprob`, of the whole reply, is there only where it is needed by name; STORED, the text's digest, where `lint` has it;
    `judge`, the mean score or the share of comparisons won, where there are artifacts of a judge in `judged`;
    `mutants_passed`, the share of wrong programs that the task's tests let pass, where it is needed by name. A failure that an
    appeal in `upheld` overturned has status `pass` and detail `appeal`.
    Raises DataError where a rollout has several scores or groups.
    """

    def wanted(columns: Sequence[str]) -> list[str]:
        return [name for name in columns if needed is None or name in needed]

    rows, stored = _rollouts(store, crop, wanted(_ROLLOUT), bool(wanted(["n_tokens"])), "logprob" in (needed or ()))
    rows = _beside(rows, "task_id", store.read("tasks", crop.pool, ["task_id", *wanted(_TASK)]), "task_id", wanted(_TASK))
    if lint and (digests := wanted(STORED)):
        rows = _beside(rows, "rollout_id", store.read("lint", lint, ["rollout_id", *digests]), "rollout_id", digests, stored)
    if judged:
        rows = _beside(rows, "rollout_id", _opinions(store.read("scores", judged)), "subject_id", ["judge"])
    if "mutants_passed" in (needed or ()):
        rows = _beside(rows, "task_id", _mutants(store.read("scores", tests)), "subject_id", ["mutants_passed"])
    groups = store.read("groups", [crop.groups], ["group_id", "scorer", "scorer_version", *wanted(_GROUP)])
    rows = _beside(rows, "group_id", groups, "group_id", ["scorer", "scorer_version", *wanted(_GROUP)])
    columns = ["subject_kind", "subject_id", "scorer", "version", *wanted(_SCORE)]
    scores = store.read("scores", [*crop.scores, crop.groups], columns)
    rows = _scored(rows, _where(scores, pc.equal(scores["subject_kind"], "rollout")), wanted(_SCORE), stored)
    return _overturned(rows, store.read("scores", upheld)) if upheld and "status" in rows.column_names else rows


def _rollouts(
    store: Store, crop: Crop, columns: Sequence[str], count: bool, likelihood: bool
) -> tuple[pa.Table, _Stored | None]:
    read = ["rollout_id", "group_id", "task_id", *columns]
    read += ["token_ids"] * count + ["logprobs"] * likelihood + ["loss_mask"] * (count or likelihood)

    def work(_: int, batches: Iterator[pa.RecordBatch]) -> list[pa.Table]:
        return [_counted(pa.Table.from_batches([batch])) for batch in batches]

    parts = chain.from_iterable(store.over("rollouts", crop.rollouts, read, work))
    rows = pa.concat_tables([_counted(schema.empty("rollouts").select(read)), *parts])
    ids = rows["rollout_id"].combine_chunks()
    order = pc.sort_indices(ids)
    return rows.take(order), _Stored(ids, order) if ascends(ids.take(order)) else None


def _counted(part: pa.Table) -> pa.Table:
    """The rows with the number of sampled tokens in place of the tokens, and their sum in place of the log-probs."""
    if "logprobs" in part.column_names:
        part = part.append_column("logprob", trained_logprobs(part["logprobs"], part["loss_mask"])).drop_columns(["logprobs"])
    if "token_ids" in part.column_names:
        part = part.append_column("n_tokens", trained_tokens(part["token_ids"], part["loss_mask"])).drop_columns(["token_ids"])
    return part.drop_columns(["loss_mask"]) if "loss_mask" in part.column_names else part


def _scored(rows: pa.Table, scores: pa.Table, columns: Sequence[str], stored: _Stored | None) -> pa.Table:
    """The rows with the score by whoever labelled the rollout's group; scores by others are not looked at."""
    scorer = ["scorer", "scorer_version"]
    pairs = rows.group_by(scorer).aggregate([]).to_pylist()
    if len(pairs) == 1 and None not in pairs[0].values():
        mine = pc.and_(pc.equal(scores["scorer"], pairs[0]["scorer"]), pc.equal(scores["version"], pairs[0]["scorer_version"]))
        return _beside(rows.drop_columns(scorer), "rollout_id", _where(scores, mine), "subject_id", columns, stored)
    keyed = _beside(
        _keyed(rows, "rollout_id", *scorer), "key", _keyed(scores, "subject_id", "scorer", "version"), "key", columns
    )
    return keyed.drop_columns(["key", *scorer])


def _mutants(scores: pa.Table) -> pa.Table:
    """One row a task whose mutants were run: the share that passed."""
    rows = scores.filter(pc.equal(scores["scorer"], weak_tests.SCORER))
    return pa.table({"subject_id": rows["subject_id"], "mutants_passed": rows["value"]})


def _overturned(rows: pa.Table, verdicts: pa.Table) -> pa.Table:
    """With status `pass` and detail `appeal` where a failure was upheld on appeal."""
    ids = verdicts.filter(pc.equal(verdicts["status"], "pass"))["subject_id"].combine_chunks()
    mine = pc.and_(pc.is_in(rows["rollout_id"], value_set=ids), pc.fill_null(pc.equal(rows["status"], "fail"), False))
    for name, value in (("status", "pass"), ("detail", "appeal")):
        if name in rows.column_names:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, name, pc.if_else(mine, pa.scalar(value), rows[name].cast(pa.string())))
    return rows


def _opinions(scores: pa.Table) -> pa.Table:
    """One row a rollout that was judged: its mean score, or the share of its comparisons that it won."""
    rows = scores.filter(pc.is_valid(scores["value"]))
    mine = pa.table({"subject_id": rows["subject_id"], "judge": rows["value"]})
    pairs = rows.filter(pc.is_valid(rows["other_id"]))
    theirs = pa.table({"subject_id": pairs["other_id"], "judge": pc.subtract(1.0, pairs["value"])})
    means = pa.concat_tables([mine, theirs]).group_by("subject_id").aggregate([("judge", "mean")])
    return means.rename_columns({"judge_mean": "judge"})


def _keyed(rows: pa.Table, *names: str) -> pa.Table:
    """The rows with one more column that joins a rollout and who labelled it."""
    parts = [pc.fill_null(rows[name], "") for name in names]
    return rows.append_column("key", pc.binary_join_element_wise(*parts, "\0"))


def _where(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """The rows that a mask marks; the table itself, not a copy, where it marks all."""
    return table if pc.all(mask, skip_nulls=False).as_py() else table.filter(mask)


def _beside(
    rows: pa.Table, key: str, other: pa.Table, other_key: str, columns: Sequence[str], stored: _Stored | None = None
) -> pa.Table:
    """`rows` with columns of the row of `other` that has the same key, null where there is none."""
    keys = other[other_key].combine_chunks()
    if stored is not None and keys.equals(stored.ids):
        at = stored.order
    elif pc.count_distinct(keys).as_py() != len(keys):
        raise DataError(f"several rows are beside one {key}", "join one score and one group per rollout")
    else:
        at = pc.index_in(rows[key], value_set=keys)
    for name in columns:
        rows = rows.append_column(name, other[name].combine_chunks().take(at))
    return rows
