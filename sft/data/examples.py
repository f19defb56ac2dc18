"""From kept rollouts to training examples: one row per rollout that stands alone, token ids exactly as they were sampled.

Nothing here tokenises, decides or weighs: who is kept and with which weight comes in. The rows' columns are the dataset's
contract with everyone who trains on it without the run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.errors import DataError

_S, _F, _I32 = pa.string(), pa.float64(), pa.int32()
ROWS = pa.schema(
    [
        ("example_id", _S), ("view", _S), ("split", _S), ("weight", _F), ("task_id", _S), ("group_id", _S), ("rollout_id", _S),
        ("policy_id", _S), ("iteration", _I32), ("prompt", schema.MESSAGES), ("completion", schema.MESSAGES),
        ("prompt_token_ids", pa.list_(_I32)), ("token_ids", pa.list_(_I32)), ("loss_mask", pa.list_(pa.int8())),
        ("logprobs", pa.list_(pa.float32())), ("logprob_source", _S), ("temperature", _F), ("label", pa.bool_()),
        ("pass_rate", _F), ("n", _I32), ("label_source", _S),
    ]
)  # fmt: skip
KEYS = ("example_id",)
_TOKENS = ("prompt_token_ids", "token_ids", "loss_mask", "logprobs")


def build(
    rollouts: pa.Table, prompts: pa.Table, samplings: pa.Table, groups: pa.Table, scores: pa.Table, *, dataset_id: str,
    view: str = "sft", weight: float | Mapping[str, float] = 1.0, split: str = "train", keep_tokens: bool = True,
) -> tuple[pa.Table, pa.Table]:  # fmt: skip
    """Table `examples` and the dataset's rows (schema `ROWS`), one per rollout, both in the order of example_id.

    `rollouts` are the kept ones; the other tables may hold more than is needed. `groups` has one row per group: filter it to
    one scorer and label source. `weight` is one number or one per rollout_id. Without `keep_tokens` the token columns are
    null, and the dataset can be exported but not trained on here. Raises DataError where a prompt is missing.
    """
    rollout_ids = rollouts["rollout_id"].to_pylist()
    example_ids = [ids.example_id(dataset_id, view, [rollout_id]) for rollout_id in rollout_ids]
    weights = [weight.get(r, 1.0) for r in rollout_ids] if isinstance(weight, Mapping) else [weight] * len(rollout_ids)
    prompt, group = _matched(rollouts, prompts, "prompt_id"), _matched(rollouts, groups, "group_id")
    if prompt["prompt_id"].null_count:
        lost = rollouts.filter(pc.is_null(prompt["prompt_id"]))["rollout_id"][0].as_py()
        raise DataError(f"rollout {lost} has no prompt in table prompts", "ratoon verify RUN tells which part is missing")
    columns = {
        "example_id": pa.array(example_ids, _S), "view": _constant(view, rollouts), "split": _constant(split, rollouts),
        "weight": pa.array(weights, _F), "prompt": prompt["messages"], "completion": _completions(rollouts["text"]),
        "prompt_token_ids": prompt["token_ids"], "label": _labels(rollouts, group, scores),
        "temperature": _matched(rollouts, samplings, "sampling_id")["temperature"], "pass_rate": group["pass_rate"],
        "n": group["n"], "label_source": group["label_source"],
    }  # fmt: skip
    rows = _rows(rollouts, columns, keep_tokens)
    order = pc.sort_indices(rows, [("example_id", "ascending")])
    return _examples(rollouts, columns, dataset_id).take(order), rows.take(order)


def _rows(rollouts: pa.Table, columns: dict[str, pa.ChunkedArray], keep_tokens: bool) -> pa.Table:
    arrays = [columns.get(name, rollouts[name] if name in rollouts.column_names else None) for name in ROWS.names]
    dropped = () if keep_tokens else _TOKENS
    arrays = [
        pa.nulls(rollouts.num_rows, f.type) if f.name in dropped or array is None else array.cast(f.type)
        for f, array in zip(ROWS, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=ROWS)


def _examples(rollouts: pa.Table, columns: dict[str, pa.ChunkedArray], dataset_id: str) -> pa.Table:
    one_each = np.arange(rollouts.num_rows + 1, dtype=np.int32)
    wrapped = pa.ListArray.from_arrays(one_each, pa.array(rollouts["rollout_id"].to_pylist(), _S))
    shared = {name: columns[name] for name in ("example_id", "view", "weight", "split")}
    own = {"dataset_id": _constant(dataset_id, rollouts), "role": rollouts["role"], "task_id": rollouts["task_id"]}
    return schema.from_columns("examples", shared | own | {"rollout_ids": wrapped})


def _matched(rollouts: pa.Table, other: pa.Table, key: str) -> pa.Table:
    """The row of `other` with each rollout's `key`, all null where there is none. Raises DataError on a key met twice."""
    keys = other[key].combine_chunks()
    if pc.count_distinct(keys).as_py() != len(keys):
        raise DataError(
            f"the table matched on {key} has several rows for one {key}", "filter it to one scorer and label source"
        )
    return other.take(pc.index_in(rollouts[key], value_set=keys))


def _labels(rollouts: pa.Table, group: pa.Table, scores: pa.Table) -> pa.Array:
    """pass → true, fail → false, anything else → null, by the scorer that labelled the rollout's group."""
    status = {
        (s["subject_id"], s["scorer"], s["version"]): s["status"]
        for s in scores.select(["subject_kind", "subject_id", "scorer", "version", "repeat", "status"]).to_pylist()
        if s["subject_kind"] == "rollout" and not s["repeat"]
    }
    whose = zip(*(c.to_pylist() for c in (rollouts["rollout_id"], group["scorer"], group["scorer_version"])), strict=True)
    return pa.array([{"pass": True, "fail": False}.get(status.get(key, "")) for key in whose], pa.bool_())


def _completions(text: pa.ChunkedArray) -> pa.Array:
    values = pa.array(text.to_pylist(), _S)
    columns = {"role": pa.array(["assistant"] * len(values), _S), "content": values}
    fields = list(schema.MESSAGES.value_type)
    messages = pa.StructArray.from_arrays([columns.get(f.name, pa.nulls(len(values), _S)) for f in fields], fields=fields)
    return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32), messages)


def _constant(value: str, rollouts: pa.Table) -> pa.Array:
    return pa.array([value] * rollouts.num_rows, _S)
