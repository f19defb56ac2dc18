"""Looking at rows: rollouts as a person reads them, and one id through every table. Reads only."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema, sql
from ratoon.errors import UsageError
from ratoon.reply import ANSWER_SQL
from ratoon.store.store import Manifest, Store

_SHOW = """
with last as (
    select d.* from decisions d
    where d.subject_kind = 'rollout' and d.curation_id in ({curations})
    qualify row_number() over (partition by d.subject_id order by d.keep, d.step desc) = 1
)
select r.rollout_id, r.iteration, r.role, t.family, p.messages as prompt, r.text, r.answer_start, r.answer_text,
       t.answer as gold, r.finish_reason, r.error,
       s.status, s.answer, s.detail, g.pass_rate, g.n, l.keep, l.filter, l.reason, l.evidence_id
from (select *, {answer} as answer_text from rollouts) r
join prompts p using (prompt_id) join tasks t on t.task_id = r.task_id
left join (
    select * from scores where subject_kind = 'rollout' and repeat = 0 and scorer not in ('reading', 'judge', 'appeal')
) s on s.subject_id = r.rollout_id
left join (select group_id, any_value(pass_rate) as pass_rate, any_value(n) as n from groups group by group_id) g
       on g.group_id = r.group_id
left join last l on l.subject_id = r.rollout_id
where {where}
order by r.iteration desc, r.rollout_id limit {n}
"""
_WHERE = {"any": "true", "failed": "r.error is not null", "kept": "l.keep", "dropped": "not l.keep"}


def show(store: Store, which: str, n: int) -> list[dict[str, Any]]:
    """At most `n` rollouts, newest round first; `which` is any, failed, kept or dropped, by the run's own curations."""
    if which not in _WHERE:
        raise UsageError(f"cannot show {which!r}", f"one of {', '.join(_WHERE)}")
    curations = ", ".join(f"'{id}'" for id in _curations(store)) or "null"
    return sql.query(store, _SHOW.format(where=_WHERE[which], n=int(n), curations=curations, answer=ANSWER_SQL)).to_pylist()


def _curations(store: Store) -> list[str]:
    """One curation a round: `default`, what the run trains on; a replay's verdicts only where there is no other."""
    chosen: dict[int | None, Manifest] = {}
    for made in store.find("curate"):
        before = chosen.get(made.iteration)
        if before is None or before.shard != "default":
            chosen[made.iteration] = made
    return [made.extra["curation_id"] for made in chosen.values()]


def explain(store: Store, id: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, in the order of the loop, that hold the id in any column; then one step out, to what they stand on.

    Raises UsageError when no id begins so, or several do.
    """
    whole = _whole(store, id)
    found = {name: _rows_with(store, name, {whole}) for name in schema.TABLES}
    linked = {v for rows in found.values() for row in rows for k, v in row.items() if k in _LINKS and isinstance(v, str)}
    linked |= {r for row in found["examples"] for r in row["rollout_ids"] or ()}
    for name in ("tasks", "prompts", "policies", "samplings", "groups"):
        known = {tuple(str(row[k]) for k in schema.KEYS[name]) for row in found[name]}
        for row in _rows_keyed(store, name, linked):
            if tuple(str(row[k]) for k in schema.KEYS[name]) not in known:
                found[name].append(row)
    if whole.startswith("r_"):
        _around_rollout(store, found, whole)
    return {name: rows for name, rows in found.items() if rows}


_LINKS = {"task_id", "prompt_id", "policy_id", "sampling_id", "group_id", "parent_policy_id", "evidence_id"}


def _around_rollout(store: Store, found: dict[str, list[dict[str, Any]]], rollout_id: str) -> None:
    """The examples made of a rollout, the policies trained on their dataset, and how those did."""
    examples = store.read("examples")
    mine = [row for row in examples.to_pylist() if rollout_id in (row["rollout_ids"] or ())]
    found["examples"] = mine
    datasets = {row["dataset_id"] for row in mine}
    trained = [row for row in store.read("policies").to_pylist() if row["dataset_id"] in datasets]
    found["policies"] += [row for row in trained if row not in found["policies"]]
    policies = {row["policy_id"] for row in trained}
    found["evals"] = [
        r for r in store.read("evals").to_pylist() if r["policy_id"] in policies and r["metric"].startswith("pass@1")
    ]
    _around_proposer(store, found, rollout_id)


def _around_proposer(store: Store, found: dict[str, list[dict[str, Any]]], rollout_id: str) -> None:
    """What a proposer's rollout became: the decision on each task it wrote, and the tasks."""
    wrote = store.read("decisions")
    wrote = wrote.filter(pc.starts_with(wrote["subject_id"], f"{rollout_id}/"))
    if wrote.num_rows:
        found["decisions"] += wrote.to_pylist()
        tasks = store.read("tasks")
        told = pc.match_substring(tasks["meta"], f'"rollout_id":"{rollout_id}"')
        found["tasks"] += tasks.filter(pc.fill_null(told, False)).to_pylist()


def _whole(store: Store, start: str) -> str:
    """The one id of the run that begins with `start`."""
    names = {(table, c) for table, keys in schema.KEYS.items() for c in keys if c.endswith("_id")}
    names |= {("rollouts", "group_id"), ("decisions", "curation_id"), ("examples", "dataset_id")}
    hits: set[str] = set()
    for table, column in sorted(names):
        values = store.read(table, columns=[column])[column]
        hits |= {_of_rollout(hit) for hit in values.filter(pc.starts_with(values, start)).unique().to_pylist()}
    if start in hits:
        return start
    if len(hits) == 1:
        return hits.pop()
    what = "no id of this run begins" if not hits else f"{len(hits)} ids begin"
    raise UsageError(f"{what} with {start!r}", "`ratoon show RUN` prints rollout ids; `ratoon sql` finds the others")


def _of_rollout(id: str) -> str:
    """A proposal is named by its rollout and a number."""
    return id.partition("/")[0] if id.startswith("r_") else id


def _rows_with(store: Store, name: str, ids: set[str]) -> list[dict[str, Any]]:
    columns = [f.name for f in schema.TABLES[name] if pa.types.is_string(f.type) and f.name.endswith("_id")]
    return _filtered(store, name, columns, ids)


def _rows_keyed(store: Store, name: str, ids: set[str]) -> list[dict[str, Any]]:
    return _filtered(store, name, [schema.KEYS[name][0]], ids)


def _filtered(store: Store, name: str, columns: list[str], ids: set[str]) -> list[dict[str, Any]]:
    wanted, rows = pa.array(sorted(ids), pa.string()), []
    for batch in store.scan(name):
        mask = pa.array([False] * batch.num_rows)
        for column in columns:
            mask = pc.or_(mask, pc.fill_null(pc.is_in(batch[column], value_set=wanted), False))
        rows += batch.filter(mask).to_pylist()
    return rows
