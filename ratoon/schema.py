"""The tables: one pyarrow schema each, versioned together; nothing here reads or writes.

Every column but the keys is nullable, and unknown is null, never 0 or false. Arrow `map` is not used: `datasets` cannot
load it. `KEYS` are the columns that identify a row (and order it for digests); `VOLATILE` columns are in no digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError

SCHEMA_VERSION = 1

_S, _F, _I, _B = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_I32, _F32, _I8 = pa.int32(), pa.float32(), pa.int8()
# `tool_calls` is the JSON of a list, as chat templates take it.
MESSAGE_FIELDS = ("role", "content", "reasoning", "tool_calls", "tool_call_id", "name")
MESSAGES = pa.list_(pa.struct([(name, _S) for name in MESSAGE_FIELDS]))
_STRINGS = pa.list_(_S)

KEYS: dict[str, tuple[str, ...]] = {
    "tasks": ("task_id",),
    "oracles": ("task_id",),
    "assignments": ("iteration", "task_id", "prompt_id", "sampling_id", "first_sample"),
    "prompts": ("prompt_id",),
    "samplings": ("sampling_id",),
    "policies": ("policy_id",),
    "rollouts": ("rollout_id",),
    "scores": ("subject_kind", "subject_id", "other_id", "scorer", "version", "repeat"),
    "groups": ("group_id", "scorer", "scorer_version", "label_source"),
    "edges": ("kind", "a_id", "b_id", "version"),
    "lint": ("rollout_id", "version"),
    "signatures": ("kind", "subject_id", "version"),
    "embeddings": ("subject_id", "version"),
    "benchmarks": ("item_id",),
    "decisions": ("curation_id", "step", "subject_kind", "subject_id"),
    "rescored": ("rollout_id", "policy_id", "source"),
    "measures": ("scope_kind", "scope_id", "iteration", "metric", "version"),
    "sketches": ("scope_kind", "scope_id", "iteration", "name", "version", "fingerprint"),
    "examples": ("dataset_id", "example_id"),
    "failures": ("stage", "subject_id", "attempt"),
    "state": ("iteration", "step", "key"),
    "evals": ("iteration", "policy_id", "suite", "metric", "against_policy_id"),
}

_COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    "tasks": [
        ("task_id", _S), ("problem_key", _S), ("source", _S), ("family", _S), ("level", _S), ("messages", MESSAGES),
        ("tools", _S), ("answer", _S), ("verifier", _S), ("verifier_args", _S), ("split", _S), ("parent_ids", _STRINGS),
        ("iteration", _I32), ("seed", _I), ("meta", _S),
    ],
    "oracles": [("task_id", _S), ("oracle", _S)],
    "assignments": [
        ("iteration", _I32), ("task_id", _S), ("prompt_id", _S), ("sampling_id", _S), ("n_planned", _I32),
        ("first_sample", _I32), ("purpose", _S), ("arm", _S), ("hint", _S),
    ],
    "prompts": [
        ("prompt_id", _S), ("task_id", _S), ("parent_rollout_id", _S), ("role", _S), ("template_digest", _S),
        ("messages", MESSAGES), ("token_ids", pa.list_(_I32)),
    ],
    "samplings": [
        ("sampling_id", _S), ("temperature", _F), ("top_p", _F), ("top_k", _I32), ("min_p", _F), ("presence_penalty", _F),
        ("frequency_penalty", _F), ("repetition_penalty", _F), ("max_tokens", _I32), ("stop_token_ids", pa.list_(_I32)),
        ("logprobs_mode", _S), ("chat_template_kwargs", _S),
    ],
    "policies": [
        ("policy_id", _S), ("parent_policy_id", _S), ("kind", _S), ("uri", _S), ("weights_digest", _S),
        ("tokenizer_digest", _S), ("template_digest", _S), ("dataset_id", _S), ("method", _S), ("config_digest", _S),
        ("seed", _I), ("iteration", _I32), ("master_digest", _S), ("start_digest", _S),
        ("update_kept", _F), ("start_kl", _F),
    ],
    "rollouts": [
        ("rollout_id", _S), ("group_id", _S), ("task_id", _S), ("prompt_id", _S), ("policy_id", _S), ("sampling_id", _S),
        ("iteration", _I32), ("role", _S), ("turn", _I32), ("parent_id", _S), ("sample", _I32), ("text", _S),
        ("answer_start", _I32), ("token_ids", pa.list_(_I32)), ("logprobs", pa.list_(_F32)), ("logprob_source", _S),
        ("loss_mask", pa.list_(_I8)), ("finish_reason", _S), ("error", _S), ("meta", _S), ("seconds", _F),
    ],
    "scores": [
        ("subject_kind", _S), ("subject_id", _S), ("other_id", _S), ("scorer", _S), ("version", _S), ("repeat", _I32),
        ("status", _S), ("value", _F), ("answer", _S), ("judge_rollout_id", _S), ("detail", _S),
    ],
    "groups": [
        ("group_id", _S), ("task_id", _S), ("prompt_id", _S), ("policy_id", _S), ("sampling_id", _S), ("role", _S),
        ("iteration", _I32), ("scorer", _S), ("scorer_version", _S), ("label_source", _S), ("n_planned", _I32), ("n", _I32),
        ("n_valid", _I32), ("n_passed", _I32), ("n_truncated", _I32), ("n_unparsed", _I32), ("pass_rate", _F),
        ("pass_lo", _F), ("pass_hi", _F), ("vote", _S), ("vote_share", _F), ("vote_margin", _F), ("entropy", _F),
        ("vote_status", _S), ("stop_rule", _S),
    ],
    "edges": [("kind", _S), ("a_id", _S), ("b_id", _S), ("similarity", _F), ("evidence", _S), ("version", _S)],
    "lint": [
        ("rollout_id", _S), ("version", _S), ("chars", _I), ("words", _I), ("lines", _I), ("stop_words", _I),
        ("word_chars", _F), ("alpha_share", _F), ("hash_share", _F), ("ellipsis_share", _F), ("bullet_line_share", _F),
        ("ellipsis_line_share", _F), ("dup_line_share", _F), ("dup_line_char_share", _F), ("dup_paragraph_share", _F),
        ("dup_paragraph_char_share", _F), ("top_2", _F), ("top_3", _F), ("top_4", _F), ("dup_5", _F), ("dup_6", _F),
        ("dup_7", _F), ("dup_8", _F), ("dup_9", _F), ("dup_10", _F), ("script_share", _F), ("script", _S), ("empty", _B),
        ("refusal", _B), ("echo", _F), ("leaked", _B), ("sentences", _I32), ("blocks", _I32), ("equations", _I32),
        ("operators", _I32), ("operator_kinds", _I32), ("steps", _I32), ("verification", _I32), ("backtracking", _I32),
        ("subgoals", _I32), ("backward_chaining", _I32), ("text_hi", _I), ("text_lo", _I),
    ],
    "signatures": [
        ("subject_id", _S), ("kind", _S), ("version", _S), ("size", _I32), ("whole", _I), ("bands", pa.list_(_I32)),
    ],
    # A vector is its float16 numbers, little-endian: lists of them would be no type of DuckDB's.
    "embeddings": [("subject_id", _S), ("version", _S), ("vector", pa.binary())],
    "benchmarks": [("item_id", _S), ("benchmark", _S), ("part", _S), ("text", _S)],
    "decisions": [
        ("curation_id", _S), ("step", _I32), ("subject_kind", _S), ("subject_id", _S), ("filter", _S), ("version", _S),
        ("keep", _B), ("reason", _S), ("value", _F), ("threshold", _F), ("evidence_id", _S),
    ],
    "rescored": [
        ("rollout_id", _S), ("policy_id", _S), ("source", _S), ("temperature", _F), ("dtype", _S),
        ("logprobs", pa.list_(_F32)),
    ],
    "measures": [
        ("scope_kind", _S), ("scope_id", _S), ("iteration", _I32), ("metric", _S), ("version", _S), ("value", _F),
        ("lo", _F), ("hi", _F), ("n", _I), ("seed", _I), ("fingerprint", _S), ("params", _S),
    ],
    "sketches": [
        ("scope_kind", _S), ("scope_id", _S), ("iteration", _I32), ("name", _S), ("version", _S), ("fingerprint", _S),
        ("n", _I), ("values", pa.list_(_F)),
    ],
    "examples": [
        ("dataset_id", _S), ("example_id", _S), ("view", _S), ("role", _S), ("task_id", _S), ("rollout_ids", _STRINGS),
        ("weight", _F), ("split", _S),
    ],
    "failures": [("stage", _S), ("subject_id", _S), ("attempt", _I32), ("error_class", _S), ("message", _S)],
    "state": [("iteration", _I32), ("step", _S), ("key", _S), ("value", _S)],
    "evals": [
        ("iteration", _I32), ("policy_id", _S), ("suite", _S), ("metric", _S), ("value", _F), ("lo", _F), ("hi", _F),
        ("n_tasks", _I32), ("n_samples", _I32), ("sampling_id", _S), ("against_policy_id", _S),
    ],
}  # fmt: skip

# A key column may still be null where the row has no such coordinate (a score of one subject has no other_id).
TABLES: dict[str, pa.Schema] = {
    name: pa.schema([pa.field(c, t) for c, t in columns], metadata={"ratoon.table": name, "ratoon.schema": str(SCHEMA_VERSION)})
    for name, columns in _COLUMNS.items()
}

VOLATILE: dict[str, frozenset[str]] = {
    "policies": frozenset({"uri", "weights_digest", "master_digest", "start_digest", "update_kept", "start_kl"}),
    "rollouts": frozenset({"seconds", "answer_start"}),  # the latter follows from the text, and older parts have none
}

# What the tables and their messages got later: null in older parts, and in no digest while it is null throughout.
ADDED_COLUMNS = frozenset({"tools"})
ADDED_FIELDS = frozenset(MESSAGE_FIELDS[2:])


def from_rows(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table of `name` from dicts; absent columns are null. Raises DataError on an unknown column."""
    schema, rows = TABLES[name], list(rows)
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise DataError(f"table {name!r} has no column {sorted(unknown)}", f"its columns are {schema.names}")
    return pa.Table.from_pylist(rows, schema=schema)


def from_columns(name: str, columns: Mapping[str, Any], rows: int | None = None) -> pa.Table:
    """A table of `name` from equal-length columns (lists or Arrow arrays); absent columns are null."""
    schema = TABLES[name]
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise DataError(f"table {name!r} has no column {sorted(unknown)}", f"its columns are {schema.names}")
    n = rows if rows is not None else len(next(iter(columns.values()))) if columns else 0
    arrays = [_column(columns.get(field.name), field.type, n) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _column(values: Any, kind: pa.DataType, n: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        return pa.nulls(n, kind)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind)


def empty(name: str) -> pa.Table:
    """No rows of table `name`."""
    return TABLES[name].empty_table()
