"""Rollouts in, verdicts out: one score per rollout whose task has a verifier; knows no verifier's rules.

What is judged is a reply's answer, behind its thinking. The policy's faults are failures: a reply cut off by length fails
whatever it holds, though an answer that parses is recorded; so does one whose thinking never ended. A rollout that never came
back is an `error`, not a failure. A gold that cannot be judged abstains whatever the policy wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from ratoon import reply, schema
from ratoon.errors import ConfigError, DataError
from ratoon.metrics.verifiers import gold_reply
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import Verdict, args_of, errored, failed


class _Spec(NamedTuple):
    verifier: str
    answer: str | None
    args: dict[str, Any] | None


def score(rollouts: pa.Table, tasks: pa.Table, pool: VerifierPool) -> pa.Table:
    """Table `scores` for rollouts (rollout_id, task_id, text, answer_start, meta, finish_reason, error) of tasks (task_id,
    answer, verifier, verifier_args); rollouts of tasks without a verifier have no row. Raises DataError for an unknown task.
    """
    specs = _specs(tasks)
    names = ("rollout_id", "task_id", "text", "finish_reason", "error")
    ids, task_ids, texts, reasons, errors = (reply.answered(rollouts).column(name).to_pylist() for name in names)
    unfinished = reply.unfinished(rollouts).to_pylist()
    try:
        wanted = [specs[task] for task in task_ids]
    except KeyError as error:
        raise DataError(
            f"a rollout names task {error}, which the tasks table does not hold", "score with the run's tasks"
        ) from None
    verdicts: list[Verdict | None] = [_unasked(spec, e, t) for spec, e, t in zip(wanted, errors, texts, strict=True)]
    open_rows = [i for i, verdict in enumerate(verdicts) if verdict is None and wanted[i] is not None]
    items = [Item(spec.verifier, texts[i], spec.answer, spec.args or {}) for i in open_rows if (spec := wanted[i]) is not None]
    for i, verdict in zip(open_rows, pool.run(items), strict=True):
        fault = reply.UNFINISHED if unfinished[i] else "length" if reasons[i] == "length" else None
        verdicts[i] = verdict if fault is None else _faulty(verdict, fault)
    kept = [
        (id, spec.verifier, v) for id, spec, v in zip(ids, wanted, verdicts, strict=True) if spec is not None and v is not None
    ]
    return _table("rollout", kept, pool)


def score_gold(tasks: pa.Table, pool: VerifierPool) -> pa.Table:
    """Table `scores` with subject_kind `task`: each gold answer, said as its verifier wants it, before its own verifier.

    Anything but `pass` is a task that no policy could be judged on. Tasks without a verifier have no row.
    """
    specs = {task: spec for task, spec in _specs(tasks).items() if spec is not None}
    asked = {task: spec for task, spec in specs.items() if spec.args is not None}
    items = [Item(s.verifier, _gold_text(s), s.answer, s.args or {}) for s in asked.values()]
    verdicts = dict(zip(asked, pool.run(items), strict=True))
    return _table("task", [(task, spec.verifier, verdicts.get(task, _BAD_ARGS)) for task, spec in specs.items()], pool)


def _gold_text(spec: _Spec) -> str:
    try:
        return gold_reply(spec.verifier, spec.answer or "", spec.args or {})
    except ConfigError:
        return spec.answer or ""  # the verifier itself will say what is wrong with its arguments


_BAD_ARGS = errored("verifier_args is no JSON object")


def _specs(tasks: pa.Table) -> dict[str, _Spec | None]:
    """Per task what judges it; equal arguments are one dict, so that a batch carries them once."""
    ids, answers, names, texts = (tasks.column(name).to_pylist() for name in ("task_id", "answer", "verifier", "verifier_args"))
    args = {text: args_of(text) for text in set(texts)}
    rows = zip(ids, answers, names, texts, strict=True)
    return {id: None if name is None else _Spec(name, answer, args[text]) for id, answer, name, text in rows}


def _unasked(spec: _Spec | None, error: str | None, text: str | None) -> Verdict | None:
    """The verdict of a rollout that no verifier can be asked about."""
    if spec is None:
        return None
    if error is not None or text is None:
        return errored(error or "rollout has no text")
    return _BAD_ARGS if spec.args is None else None


def _faulty(verdict: Verdict, fault: str) -> Verdict:
    return verdict if verdict.status == "abstain" else failed(fault, verdict.answer)


def _table(kind: str, rows: Sequence[tuple[str, str, Verdict]], pool: VerifierPool) -> pa.Table:
    versions = {name: pool.version(name) for name in {name for _, name, _ in rows}}
    columns = {
        "subject_kind": [kind] * len(rows),
        "subject_id": [id for id, _, _ in rows],
        "scorer": [name for _, name, _ in rows],
        "version": [versions[name] for _, name, _ in rows],
        "repeat": [0] * len(rows),
        "status": [verdict[0] for _, _, verdict in rows],
        "value": [verdict[1] for _, _, verdict in rows],
        "answer": [verdict[2] for _, _, verdict in rows],
        "detail": [verdict[3] for _, _, verdict in rows],
    }
    return schema.from_columns("scores", columns, len(rows))
