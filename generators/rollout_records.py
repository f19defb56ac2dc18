"""The journal's records of rollouts: made of an engine's completions, and made into table `rollouts`; knows no engine.

A record: `id`, `ids` (little-endian int32, base64), `lp` (float32 likewise, or null), `src`, `fin`, `err`, `s` (seconds),
`p` (prompt tokens), `text` where an endpoint gives no ids, `think` where it sent the thinking apart, `mask` (int8, base64)
where the policy did not sample every id, `top` (per token the likeliest ids with their log-probs) where they were asked
for, and `usage` where a server counted tokens. The row's `meta` holds `top` as `top_logprobs`, `usage`, as
`lone_surrogates` how many characters of the endpoint's text were replaced, `reasoning_content` where the thinking was put
in front of the text here, and `unfinished_thinking`.
"""

from __future__ import annotations

import json
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply, schema
from ratoon.engine import Completion
from ratoon.errors import EngineError
from ratoon.render import Renderer
from ratoon.surrogates import message_without_surrogates, without_surrogates

Record = dict[str, Any]


def record_of(completion: Completion) -> Record:
    """The record of one completion. Raises EngineError where its ids, log-probs and loss mask differ in length."""
    logprobs = completion.logprobs
    if logprobs is not None and len(logprobs) != len(completion.token_ids):
        raise EngineError(
            f"{completion.request_id}: {len(completion.token_ids)} ids but {len(logprobs)} log-probs", "an engine's bug"
        )
    if completion.loss_mask is not None and len(completion.loss_mask) != len(completion.token_ids):
        raise EngineError(
            f"{completion.request_id}: {len(completion.token_ids)} ids but a loss mask of {len(completion.loss_mask)}",
            "an engine's bug",
        )
    record: Record = {
        "id": completion.request_id,
        "ids": _packed("i", completion.token_ids),
        "lp": None if logprobs is None else _packed("f", logprobs),
        "src": completion.logprob_source,
        "fin": completion.finish_reason,
        "err": completion.error,
        "s": completion.seconds,
        "p": completion.prompt_tokens,
    }
    if completion.text is not None and not completion.token_ids:
        record["text"] = completion.text
    if completion.usage is not None:
        record["usage"] = asdict(completion.usage)
    if completion.reasoning is not None:
        record["think"] = completion.reasoning
    if completion.loss_mask is not None:
        record["mask"] = _packed("b", completion.loss_mask)
    if completion.top_logprobs is not None:
        record["top"] = [{str(i): round(lp, 4) for i, lp in top.items()} for top in completion.top_logprobs]
    return encodable(record)


def encodable(record: Record) -> Record:
    """The record with its text and error as UTF-8 can hold them; `replaced` counts the lone surrogates of the text."""
    if record["err"] is not None:
        record["err"] = message_without_surrogates(record["err"])
    for name in ("think", "text"):
        if name in record:
            record[name], replaced = without_surrogates(record[name])
            if replaced:
                record["replaced"] = record.get("replaced", 0) + replaced
    return record


def _packed(code: str, numbers: Sequence[float]) -> str:
    return b64encode(array(code, numbers).tobytes()).decode()


def table_of(
    coordinates: pa.Table,
    records: list[Record],
    renderer: Renderer,
    iteration: int,
    ends: Mapping[str, str],
) -> pa.Table:
    """Table `rollouts`: one row per record, under the planned `coordinates` of the same place.

    `ends` says by prompt id how the prompt begins its reply.
    """
    n = len(records)
    blobs = [b64decode(record["ids"]) for record in records]
    flat = np.frombuffer(b"".join(blobs), "<i4")
    lengths = np.fromiter(map(len, blobs), np.int64, n) // 4
    no_ids = np.array([record["err"] is not None or "text" in record for record in records], bool)
    logprobs = [record["lp"] for record in records]
    lp_blobs = [b64decode(lp) if lp is not None else b"" for lp in logprobs]
    lp_lengths = np.fromiter(map(len, lp_blobs), np.int64, n) // 4
    lp_flat = np.frombuffer(b"".join(lp_blobs), "<f4")
    prompt_ends = [ends[prompt] for prompt in coordinates["prompt_id"].to_pylist()]
    texts, starts = _texts(records, flat.tolist(), lengths.tolist(), renderer, prompt_ends)
    columns: dict[str, Any] = {name: coordinates[name] for name in coordinates.column_names}
    columns |= {
        "iteration": pa.array(np.full(n, iteration, np.int32)),
        "text": texts,
        "answer_start": starts,
        "token_ids": _lists(flat, lengths, no_ids),
        "logprobs": _lists(lp_flat, lp_lengths, np.array([lp is None for lp in logprobs], bool)),
        "logprob_source": [record["src"] for record in records],
        "loss_mask": _lists(_masks(records, lengths), lengths, no_ids),
        "finish_reason": [record["fin"] for record in records],
        "error": [record["err"] for record in records],
        "meta": [_meta(r, t is not None and at is None) for r, t, at in zip(records, texts, starts, strict=True)],
        "seconds": [record["s"] for record in records],
    }
    return schema.from_columns("rollouts", columns, rows=n)


def _masks(records: list[Record], lengths: np.ndarray) -> np.ndarray:
    """The masks of all records, end to end: a record's own, else 1 for each of its ids."""
    masks = [
        b64decode(record["mask"]) if "mask" in record else b"\x01" * length
        for record, length in zip(records, lengths.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(masks), np.int8)


def _meta(record: Record, unfinished: bool) -> str | None:
    names = {"top": "top_logprobs", "replaced": "lone_surrogates", "usage": "usage"}
    meta = {names[name]: record[name] for name in names if name in record}
    meta |= {"reasoning_content": True} if "think" in record else {}
    meta |= {reply.UNFINISHED: True} if unfinished else {}
    return json.dumps(meta, separators=(",", ":")) if meta else None


def with_lone_surrogates(rollouts: pa.Table) -> int:
    """How many rollouts of the table came with lone surrogates in their text."""
    return pc.sum(pc.match_substring(rollouts["meta"], '"lone_surrogates":')).as_py() or 0


def _lists(flat: np.ndarray, lengths: np.ndarray, null: np.ndarray) -> pa.ListArray:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=pa.array(null))


def _texts(
    records: list[Record], flat: list[int], lengths: list[int], renderer: Renderer, ends: Sequence[str]
) -> tuple[list[str | None], list[int | None]]:  # fmt: skip
    """What the ids say without the end-of-turn id, and where each answer begins; an endpoint's own text where it gave no ids;
    null for errors."""
    sequences, start = [], 0
    for record, length in zip(records, lengths, strict=True):
        end = start + length
        sequences.append(flat[start : end - (record["fin"] == "stop" and length > 0)])
        start = end
    texts: list[str | None] = []
    starts: list[int | None] = []
    for record, (text, parts) in zip(records, renderer.replies(sequences, ends), strict=True):
        if "text" in record:
            text = _with_thinking(record, renderer)
            parts = reply.parts(text, renderer.layout)
        texts.append(None if record["err"] is not None else text)
        starts.append(None if record["err"] is not None else parts.answer_start)
    return texts, starts


def _with_thinking(record: Record, renderer: Renderer) -> str:
    """An endpoint's text, behind the thinking that it sent apart; thinking without an answer stays open."""
    before, after = renderer.layout.wrap
    if "think" not in record:
        return record["text"]
    return before + record["think"] + (after + record["text"] if record["text"] or record["fin"] == "stop" else "")
