"""One shard of rollouts: assignments to requests, an engine's completions to the journal, the journal to table `rollouts`.

It knows no engine and no verdict. Finished completions reach the journal within `_WAIT` seconds, whatever the engine does
next, so that a kill repeats only what was in flight. The table is made from the records the journal holds, so a resumed
shard has the same bytes as an unbroken one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.engine import Completion, Engine, Policy, Request, Sampling
from ratoon.errors import DataError, EngineError
from ratoon.generators.rollout_records import Record, encodable, record_of, table_of
from ratoon.messages import compact
from ratoon.render import Renderer

STAGE = "rollouts"
_PLANNED = (
    "rollout_id", "group_id", "task_id", "prompt_id", "policy_id", "sampling_id", "role", "turn", "parent_id", "sample",
)  # fmt: skip
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
    assignments: pa.Table,
    prompts: pa.Table,
    policy: Policy,
    sampling: Sampling,
    schemas: Mapping[str, str] | None = None,
    top_logprobs: int = 0,
    turns: Mapping[str, int] | None = None,
) -> Plan:
    """One request per planned sample; `schemas` are JSON schemas by prompt id; `top_logprobs` asks for the likeliest ids too.

    `turns` says by prompt id which turn of its conversation a reply is, counted from 0; a prompt not named opens one.
    Raises DataError for an unknown prompt or an assignment under another sampling.
    """
    prompt_rows = {row["prompt_id"]: row for row in prompts.to_pylist()}
    requests: list[Request] = []
    rows: list[dict[str, Any]] = []
    for assigned in assignments.to_pylist():
        prompt = _prompt_of(assigned, prompt_rows, sampling)
        turn = (turns or {}).get(prompt["prompt_id"], 0)
        row = _coordinates(prompt, policy, sampling, turn)
        request = _request(prompt, policy, sampling, (schemas or {}).get(prompt["prompt_id"]), top_logprobs)
        first = assigned["first_sample"] or 0
        for sample in range(first, first + assigned["n_planned"]):
            rollout_id = ids.rollout_id(row["prompt_id"], policy.policy_id, sampling.sampling_id, sample)
            requests.append(replace(request, request_id=rollout_id))
            rows.append(row | {"rollout_id": rollout_id, "sample": sample})
    columns = pa.schema([schema.TABLES["rollouts"].field(name) for name in _PLANNED])
    return Plan(requests, pa.Table.from_pylist(rows, columns))


def _prompt_of(assigned: dict[str, Any], prompts: Mapping[str, dict[str, Any]], sampling: Sampling) -> dict[str, Any]:
    prompt_id, sampling_id = assigned["prompt_id"], assigned["sampling_id"]
    if prompt_id not in prompts:
        raise DataError(f"assignment of unknown prompt {prompt_id}", "plan from the prompts that were built")
    if sampling_id != sampling.sampling_id:
        raise DataError(f"assignment under sampling {sampling_id}, given {sampling.sampling_id}", "plan each sampling apart")
    return prompts[prompt_id]


def _coordinates(prompt: dict[str, Any], policy: Policy, sampling: Sampling, turn: int) -> dict[str, Any]:
    """What the rows of one group share."""
    prompt_id, policy_id, sampling_id = prompt["prompt_id"], policy.policy_id, sampling.sampling_id
    return {
        "group_id": ids.group_id(prompt_id, policy_id, sampling_id),
        "task_id": prompt["task_id"],
        "prompt_id": prompt_id,
        "policy_id": policy_id,
        "sampling_id": sampling_id,
        "role": prompt["role"],
        "turn": turn,
        "parent_id": prompt["parent_rollout_id"],
    }


def _request(prompt: dict[str, Any], policy: Policy, sampling: Sampling, json_schema: str | None, top_logprobs: int) -> Request:
    """The request that the samples of one prompt share but for its id."""
    return Request(
        "",
        policy.policy_id,
        prompt["token_ids"],
        sampling,
        schema=json_schema,
        task_id=prompt["task_id"],
        messages=tuple(compact(prompt["messages"])) or None,
        role=prompt["role"],
        top_logprobs=top_logprobs,
    )


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
    last = {record["id"]: encodable(record) for record in journal.records()}  # older versions wrote texts as they came
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
            record = record_of(completion)
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
    table = table_of(fresh, records, renderer, iteration, ends)
    if not len(kept):
        return table
    both = pa.concat_tables([kept.cast(table.schema), table]).combine_chunks()
    return both.take(pc.index_in(wanted, both["rollout_id"].combine_chunks()))


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
