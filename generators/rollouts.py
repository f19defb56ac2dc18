"""One shard of rollouts: assignments to requests, an engine's completions to the journal, the journal to table `rollouts`.

It knows no engine and no verdict. Finished completions reach the journal within `_WAIT` seconds, whatever the engine does
next, so that a kill repeats only what was in flight. The table is made from the records the journal holds, so a resumed
shard has the same bytes as an unbroken one. A record: `id`, `ids` (little-endian int32, base64), `lp` (float32 likewise, or
null), `src`, `fin`, `err`, `s` (seconds), `p` (prompt tokens), `text` where an endpoint gives no ids, `think` where it sent
the thinking apart, `top` (per token the likeliest ids with their log-probs) where they were asked for, and `usage` where a
server counted tokens. The row's `meta` holds `top` as `top_logprobs`, `usage`, as `lone_surrogates` how many characters of the
endpoint's text were replaced, `reasoning_content` where the thinking was put in front of the text here, and
`unfinished_thinking`.
"""

from __future__ import annotations

import json
import threading
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, reply, schema
from ratoon.engine import Completion, Engine, Policy, Request, Sampling
from ratoon.errors import DataError, EngineError
from ratoon.messages import compact
from ratoon.render import Renderer
from ratoon.surrogates import message_without_surrogates, without_surrogates

STAGE = "rollouts"
Record = dict[str, Any]
_BATCH, _WAIT = 64, 0.05  # records written at once; seconds a record may wait for its batch


class Journal(Protocol):
    """What a shard needs of `ratoon.store.journal.Journal`."""

    def append(self, records: Sequence[Record]) -> None: ...

    def records(self) -> list[Record]: ...


@dataclass(frozen=True)
class Plan:
    """Requests in order, and the coordinates of the row each will become: the id columns of `rollouts`, row by row."""

    requests: list[Request]
    coordinates: pa.Table


def plan(
    assignments: pa.Table, prompts: pa.Table, policy: Policy, sampling: Sampling, schemas: Mapping[str, str] | None = None,
    top_logprobs: int = 0,
) -> Plan:  # fmt: skip
    """One request per planned sample; `schemas` are JSON schemas by prompt id; `top_logprobs` asks for the likeliest ids too.

    Raises DataError for an unknown prompt or an assignment under another sampling.
    """
    known = {row["prompt_id"]: row for row in prompts.to_pylist()}
    sampling_id = sampling.sampling_id
    requests: list[Request] = []
    rows: list[tuple[Any, ...]] = []
    for assigned in assignments.to_pylist():
        prompt = known.get(assigned["prompt_id"])
        if prompt is None:
            raise DataError(f"assignment of unknown prompt {assigned['prompt_id']}", "plan from the prompts that were built")
        if assigned["sampling_id"] != sampling_id:
            raise DataError(
                f"assignment under sampling {assigned['sampling_id']}, given {sampling_id}", "plan each sampling apart"
            )
        constraint = (schemas or {}).get(prompt["prompt_id"])
        _plan_group(assigned, prompt, policy, sampling, sampling_id, requests, rows, constraint, top_logprobs)
    names = ["rollout_id", "group_id", "task_id", "prompt_id", "policy_id", "sampling_id", "role", "parent_id", "sample"]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    types = [schema.TABLES["rollouts"].field(name).type for name in names]
    return Plan(requests, pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)}))


def _plan_group(
    assigned: dict[str, Any], prompt: dict[str, Any], policy: Policy, sampling: Sampling, sampling_id: str,
    requests: list[Request], rows: list[tuple[Any, ...]], schema: str | None, top_logprobs: int,
) -> None:  # fmt: skip
    """Append the requests and rows of one assignment; the samples share one prompt."""
    prompt_id, task_id, role, parent = prompt["prompt_id"], prompt["task_id"], prompt["role"], prompt["parent_rollout_id"]
    group_id = ids.group_id(prompt_id, policy.policy_id, sampling_id)
    messages = tuple(compact(prompt["messages"]))
    first = assigned["first_sample"] or 0
    for sample in range(first, first + assigned["n_planned"]):
        rollout_id = ids.rollout_id(prompt_id, policy.policy_id, sampling_id, sample)
        requests.append(
            Request(
                rollout_id,
                policy.policy_id,
                prompt["token_ids"],
                sampling,
                schema=schema,
                task_id=task_id,
                messages=messages or None,
                role=role,
                top_logprobs=top_logprobs,
            )
        )
        rows.append((rollout_id, group_id, task_id, prompt_id, policy.policy_id, sampling_id, role, parent, sample))


def run(
    plan: Plan,
    engine: Engine,
    renderer: Renderer,
    journal: Journal,
    iteration: int,
    *,
    retry: Collection[str] = frozenset(),
    earlier: pa.Table | None = None,
    on_done: Callable[[Completion], None] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Tables `rollouts` (a row per request, in the plan's order) and `failures` (a row per rollout with an error).

    What the journal or `earlier` (rollouts of this shard that were committed before) holds is not asked again, save the
    errored ones named in `retry`. Raises EngineError when the engine itself fails; what was finished stays in the journal.
    """
    retry = frozenset(retry)
    kept = _kept(earlier, plan, retry)
    done = _done(journal, retry) if plan.requests else {}
    have = done.keys() | set(kept["rollout_id"].to_pylist())
    asked = [request for request in plan.requests if request.request_id not in have]
    done |= _ask(asked, engine, journal, on_done)
    ends = _prompt_ends(plan, renderer)
    rollouts = _assemble(plan.coordinates, kept, done, renderer, iteration, ends)
    rollouts = _constrained(rollouts, {r.request_id: r.schema for r in plan.requests if r.schema is not None})
    return rollouts, _failures(rollouts, retry)


def _constrained(rollouts: pa.Table, schemas: Mapping[str, str]) -> pa.Table:
    """With the digest of its schema in the `meta` of every rollout that was sampled under one: its tokens were not free."""
    if not schemas:
        return rollouts
    told = {schema: ids.digest(schema) for schema in set(schemas.values())}
    meta = [
        json.dumps(json.loads(text or "{}") | {"schema": told[schemas[name]]}, separators=(",", ":"))
        if name in schemas
        else text
        for name, text in zip(rollouts["rollout_id"].to_pylist(), rollouts["meta"].to_pylist(), strict=True)
    ]
    at = rollouts.schema.get_field_index("meta")
    return rollouts.set_column(at, rollouts.schema.field(at), pa.array(meta, pa.string()))


def _kept(earlier: pa.Table | None, plan: Plan, retry: frozenset[str]) -> pa.Table:
    if earlier is None:
        return schema.empty("rollouts")
    planned = pc.is_in(earlier["rollout_id"], plan.coordinates["rollout_id"].combine_chunks())
    again = pc.is_in(earlier["rollout_id"], pa.array(sorted(retry), pa.string()))
    return earlier.filter(pc.and_(planned, pc.invert(pc.and_(again, pc.is_valid(earlier["error"])))))


def _done(journal: Journal, retry: frozenset[str]) -> dict[str, Record]:
    """The last record of each id, without the errors that are to be asked again."""
    last = {record["id"]: _encodable(record) for record in journal.records()}  # older versions wrote texts as they came
    return {i: record for i, record in last.items() if record["err"] is None or i not in retry}


def _ask(
    requests: list[Request], engine: Engine, journal: Journal, on_done: Callable[[Completion], None] | None
) -> dict[str, Record]:
    """The records of what the engine answered, each in the journal. Raises EngineError when some were never answered."""
    records: dict[str, Record] = {}
    if not requests:
        return records
    with _Writer(journal) as writer:
        for completion in engine.generate(requests):
            record = _record(completion)
            writer.add(record)
            records[completion.request_id] = record
            if on_done is not None:
                on_done(completion)
    missing = len(requests) - sum(request.request_id in records for request in requests)
    if missing:
        raise EngineError(
            f"the {engine.name} engine never answered {missing} of {len(requests)} requests", "start the run again"
        )
    return records


class _Writer:
    """Puts records into the journal in batches: at once when a batch is full, by a thread of its own when it waits too long."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._waiting = journal, list[Record]()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._flush_now_and_then, name="journal", daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._flush()
        if self._error is not None and error is None:
            raise self._error

    def add(self, record: Record) -> None:
        """Raises what writing raised, a full disk for example."""
        if self._error is not None:
            raise self._error
        with self._lock:
            self._waiting.append(record)
            full = len(self._waiting) >= _BATCH
        if full:
            self._flush()

    def _flush_now_and_then(self) -> None:
        while not self._stop.wait(_WAIT):
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
            if not batch or self._error is not None:
                return
            try:
                self._journal.append(batch)
            except BaseException as error:  # raised again where the completions are read
                self._error = error


def _record(completion: Completion) -> Record:
    logprobs = completion.logprobs
    if logprobs is not None and len(logprobs) != len(completion.token_ids):
        raise EngineError(
            f"{completion.request_id}: {len(completion.token_ids)} ids but {len(logprobs)} log-probs", "an engine's bug"
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
    if completion.top_logprobs is not None:
        record["top"] = [{str(i): round(lp, 4) for i, lp in top.items()} for top in completion.top_logprobs]
    return _encodable(record)


def _encodable(record: Record) -> Record:
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


def _prompt_ends(plan: Plan, renderer: Renderer) -> dict[str, str]:
    """How each prompt begins its reply, by prompt id: it may have opened the thinking, or closed it."""
    asked = dict(zip(plan.coordinates["prompt_id"].to_pylist(), plan.requests, strict=True))
    return {name: renderer.prompt_end([*r.prompt_token_ids, *(r.prefix_token_ids or ())]) for name, r in asked.items()}


def _assemble(
    coordinates: pa.Table, kept: pa.Table, done: dict[str, Record], renderer: Renderer, iteration: int, ends: dict[str, str]
) -> pa.Table:  # fmt: skip
    """One row per planned rollout in the plan's order: those kept from before, and those made of records."""
    wanted = coordinates["rollout_id"].combine_chunks()
    fresh = coordinates.filter(pc.invert(pc.is_in(wanted, kept["rollout_id"].combine_chunks())))
    records = [done[rollout_id] for rollout_id in fresh["rollout_id"].to_pylist()]
    table = _from_records(fresh, records, renderer, iteration, ends)
    if not len(kept):
        return table
    both = pa.concat_tables([kept.cast(table.schema), table]).combine_chunks()
    return both.take(pc.index_in(wanted, both["rollout_id"].combine_chunks()))


def _from_records(
    coordinates: pa.Table, records: list[Record], renderer: Renderer, iteration: int, ends: dict[str, str]
) -> pa.Table:  # fmt: skip
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
        "turn": pa.array(np.zeros(n, np.int32)),
        "text": texts,
        "answer_start": starts,
        "token_ids": _lists(flat, lengths, no_ids),
        "logprobs": _lists(lp_flat, lp_lengths, np.array([lp is None for lp in logprobs], bool)),
        "logprob_source": [record["src"] for record in records],
        "loss_mask": _lists(np.ones(len(flat), np.int8), lengths, no_ids),
        "finish_reason": [record["fin"] for record in records],
        "error": [record["err"] for record in records],
        "meta": [_meta(r, t is not None and at is None) for r, t, at in zip(records, texts, starts, strict=True)],
        "seconds": [record["s"] for record in records],
    }
    return schema.from_columns("rollouts", columns, rows=n)


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


def _failures(rollouts: pa.Table, retry: frozenset[str]) -> pa.Table:
    errored = rollouts.filter(pc.is_valid(rollouts["error"]))
    parts = [error.partition(": ") for error in errored["error"].to_pylist()]
    subjects = errored["rollout_id"].to_pylist()
    columns = {
        "stage": [STAGE] * len(parts),
        "subject_id": subjects,
        "attempt": [int(subject in retry) for subject in subjects],
        "error_class": [error_class for error_class, _, _ in parts],
        "message": [message for _, _, message in parts],
    }
    return schema.from_columns("failures", columns, rows=len(parts))
