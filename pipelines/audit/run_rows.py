"""A run's round for the audit: its training rollouts with verdicts, votes and decisions; what the run stored of itself."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema, sql
from ratoon.messages import user_texts
from ratoon.metrics.qdc.tiers import sample_of
from ratoon.metrics.report import Dropped, Series, Stage, Twin
from ratoon.metrics.report.frame import COUNTED, FRAME
from ratoon.metrics.report.thinking import told
from ratoon.metrics.stats import measures
from ratoon.metrics.stats.measures import Measure
from ratoon.metrics.verifier_errors import error_rates as measure_verifier
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.runtime.rollout_set import Crop, crop_of
from ratoon.pipelines.views.summary import rounds
from ratoon.reply import COLUMNS, UNFINISHED
from ratoon.store.store import Manifest, Store

_ROWS = """
with one as (
    select subject_id, any_value(status) as status, any_value(answer) as answer from scores
    where subject_kind = 'rollout' and repeat = 0 and scorer not in ('reading', 'judge', 'appeal') group by subject_id
), judged as (
    select subject_id, avg(value) as value from scores where subject_kind = 'rollout' and scorer = 'judge' group by subject_id
), grouped as (
    select group_id, any_value(pass_rate) as pass_rate, any_value(n_valid) as n, any_value(label_source) as label_source,
           max(vote) as vote, max(vote_share) as vote_share from groups group by group_id
), last as (
    select * from decisions where subject_kind = 'rollout'
    qualify row_number() over (partition by subject_id order by keep, step desc) = 1
)
select r.rollout_id as row_id, r.rollout_id as place, r.task_id, r.iteration, t.prompt, r.text as completion, t.answer as gold,
       s.answer, case s.status when 'pass' then true when 'fail' then false end as passed, j.value as reward, g.pass_rate,
       g.n as group_n, g.vote, g.vote_share, len(r.token_ids) as n_tokens, r.finish_reason, g.label_source, t.family,
       t.split, case when l.keep then 'kept' when not l.keep then 'dropped' end as decision,
       case when not l.keep then coalesce(l.reason, l.filter) end as reason
from rollouts r left join tasks t using (task_id) left join one s on s.subject_id = r.rollout_id
left join judged j on j.subject_id = r.rollout_id left join grouped g using (group_id)
left join last l on l.subject_id = r.rollout_id
order by r.rollout_id
"""
_UNITS = {"quality.": "share", "diversity.duplicates": "share", "diversity.near_duplicates": "share",
          "diversity.seen_before": "share", "complexity.n_tokens": "tokens", "complexity.difficulty": "share"}  # fmt: skip
_TOLD = (
    "quality.pass_rate", "quality.pass_rate_corrected", "complexity.difficulty", "diversity.vendi", "diversity.alpha",
    "diversity.beta", "diversity.rke", "diversity.clusters", "diversity.novelty", "diversity.compression_gzip",
    "diversity.duplicates", "complexity.n_tokens", "complexity.words", "complexity.steps", "complexity.verification",
    "quality.truncated", "consensus.vote_share", "qd.score",
)  # fmt: skip


def read(store: Store, iteration: int, most: int, seed: int) -> tuple[pa.Table, pa.Table, str]:
    """A round's rows as FRAME, the items they must not hold (held-out tasks, benchmarks), and a digest of both.

    Beyond `most` rows whole tasks are taken by hash.
    """
    crop = crop_of(store, iteration)
    tasks = store.read("tasks", crop.pool, ["task_id", "messages", "answer", "family", "split"])
    questions = user_texts(tasks["messages"])
    asked = pa.table({"task_id": tasks["task_id"], "prompt": questions, "answer": tasks["answer"], "family": tasks["family"],
                      "split": tasks["split"]})  # fmt: skip
    curated = [m for m in store.find("curate", iteration) if m.shard == "default"] or store.find("curate", iteration)[-1:]
    columns = ["rollout_id", "group_id", "task_id", "iteration", "text", "token_ids", "finish_reason"]
    judge = [m for m in store.find("judge", iteration) if (m.shard or "").startswith("train")]
    tables = {
        "rollouts": _rollouts(store, crop, columns, most, seed), "tasks": asked,
        "scores": store.read("scores", [*crop.scores, *judge]), "groups": store.read("groups", [crop.groups]),
        "decisions": store.read("decisions", curated) if curated else schema.empty("decisions"),
    }  # fmt: skip
    rows = sql.over(tables, _ROWS, memory_limit="2GB", spill=None).select(FRAME.names).cast(FRAME)
    digest = ids.digest([store.run_id, iteration, crop.groups.content_digest, *(m.content_digest for m in curated)])
    return rows, _held(store, tasks, questions), digest


def held(store: Store, iteration: int) -> pa.Table:
    """The items that a round's rows must not hold: the run's held-out tasks, and its benchmarks."""
    tasks = store.read("tasks", crop_of(store, iteration).pool, ["task_id", "messages", "answer", "split"])
    return _held(store, tasks, user_texts(tasks["messages"]))


def _held(store: Store, tasks: pa.Table, questions: pa.Array) -> pa.Table:
    out = pc.fill_null(pc.not_equal(tasks["split"], "train"), False).combine_chunks()
    items = [benchmarks.held_out(tasks.filter(out), questions.filter(out))]
    items += [store.read("benchmarks", store.find("benchmarks"))] if store.find("benchmarks") else []
    return pa.concat_tables(items)


def planned(store: Store, iteration: int) -> int:
    """How many training rollouts a round has."""
    return sum(m.rows("rollouts") for m in crop_of(store, iteration).rollouts)


def _rollouts(store: Store, crop: Crop, columns: list[str], most: int, seed: int) -> pa.Table:
    if sum(m.rows("rollouts") for m in crop.rollouts) <= most:
        return store.read("rollouts", crop.rollouts, columns)
    tasks = store.read("rollouts", crop.rollouts, ["task_id"])["task_id"]
    task_ids = pc.unique(tasks.filter(pa.array(sample_of(tasks, most, seed))))
    batches = [b.filter(pc.is_in(b["task_id"], value_set=task_ids)) for b in store.scan("rollouts", crop.rollouts, columns)]
    return pa.Table.from_batches(batches)


def thinking(store: Store, iteration: int) -> list[str]:
    """What there is to tell of how a round's replies thought; their texts are read only where some did."""
    rollouts = crop_of(store, iteration).rollouts
    known = store.read("rollouts", rollouts, ["answer_start", "meta"])
    some = pc.any(pc.greater(known["answer_start"], 0)).as_py()
    some = some or pc.any(pc.match_substring(known["meta"], f'"{UNFINISHED}":')).as_py()
    return told(store.read("rollouts", rollouts, COLUMNS)) if some else []


def known_before(store: Store, iteration: int, row_ids: pa.ChunkedArray) -> dict[str, pa.Table]:
    """What the run has measured of a round's rows: `lint` (a row each, in their order), edges `near`, `matched` and `review`.

    There is no `lint` where a row lacks one; `near` holds the edges of the newest settings.
    """
    tables: dict[str, pa.Table] = {}
    lint = (
        store.read("lint", store.find("lint", iteration), ["rollout_id", *COUNTED]) if store.find("lint", iteration) else None
    )
    if lint is not None and lint.num_rows:
        at = pc.index_in(row_ids, value_set=lint["rollout_id"].combine_chunks())
        if not at.null_count:
            tables["lint"] = lint.take(at).select(COUNTED)
    for stage in ("near", "matched", "review"):
        if manifests := store.find(stage, iteration):
            tables[stage] = store.read("edges", manifests[-1:], ["a_id", "b_id", "similarity", "evidence"])
    return tables


def before(store: Store, iteration: int) -> int | None:
    """The harvested round before one."""
    rounds = [m.iteration or 0 for m in store.find("groups") if m.shard == "train" and (m.iteration or 0) < iteration]
    return max(rounds, default=None)


def stored(store: Store) -> dict[int, list[Measure]]:
    """The measures of each round that the run stored, by round."""
    table = store.read("measures", store.find("measure"))
    by_round = {}
    for iteration in sorted({i for i in table["iteration"].to_pylist() if i is not None}):
        mine = pc.and_(pc.equal(table["iteration"], iteration), pc.equal(table["scope_kind"], "iteration"))
        by_round[iteration] = measures.read(table.filter(mine))
    return by_round


def verifier_errors(store: Store) -> list[Measure]:
    """The planted false positive rate of each verifier of the run."""
    measured = store.find("verifiers")
    rows = measure_verifier.read(store.read("measures", measured)) if measured else []
    return [
        Measure(f"verifier.fpr/{one.verifier}", one.version, one.fpr.value, one.fpr.n, one.fpr.lo, one.fpr.hi)
        for one in rows if one.fpr is not None
    ]  # fmt: skip


def update_kept(store: Store, iteration: int) -> list[Measure]:
    """The share of a round's update that its policy's written weights keep; nothing where no policy says."""
    policies = store.find("policy", iteration)
    shares = store.read("policies", policies, ["update_kept"])["update_kept"].drop_null().to_pylist() if policies else []
    return [Measure("training.update_kept", "1", share, 1) for share in shares[-1:]]


_TWINS = {"exact_dedup": "exact", "minhash": "minhash", "semantic": "semantic"}


def twins(store: Store, iteration: int, most: int) -> list[Twin]:
    """Pairs that a curation told apart: the dropped row and the one it repeats, the most alike of each kind in turn.

    Otherwise many copies would leave no place for near pairs.
    """
    curated = [m for m in store.find("curate", iteration) if m.shard == "default"]
    rows = store.read("decisions", curated, ["subject_id", "filter", "keep", "value", "evidence_id"]) if curated else None
    if rows is None:
        return []
    mine = pc.and_(pc.invert(pc.fill_null(rows["keep"], True)), pc.is_valid(rows["evidence_id"]))
    dropped = [r for r in rows.filter(mine).to_pylist() if r["filter"] in _TWINS]
    pairs: list[Twin] = [
        {"rejected": r["subject_id"], "kept": r["evidence_id"], "kind": _TWINS[r["filter"]],  # type: ignore[typeddict-item]
         "similarity": 1.0 if r["value"] is None or r["filter"] == "exact_dedup" else float(r["value"])}
        for r in dropped
    ]  # fmt: skip
    pairs.sort(key=lambda t: (-t["similarity"], t["rejected"]))
    kinds = [[t for t in pairs if t["kind"] == kind] for kind in dict.fromkeys(_TWINS.values())]
    return [twin for turn in zip_longest(*kinds) for twin in turn if twin is not None][:most]


def iterations(store: Store) -> list[Series]:
    """Headline numbers over the rounds: what was measured of each round, and the held-out pass rate of its policy."""
    policies = {r["iteration"]: r["policy_id"] for r in store.read("policies", columns=["policy_id", "iteration"]).to_pylist()}
    series: dict[str, Series] = {}
    for iteration, mine in stored(store).items():
        for one in mine:
            if one.metric in _TOLD and one.value is not None:
                _add(series, one.metric, iteration, policies.get(iteration - 1), (one.value, one.lo, one.hi, one.n))
    for row in rounds(store):
        at = row["round"]
        if row["pass@1"] is not None:
            e = row["pass@1"]
            _add(series, "pass@1", at, policies.get(at), (e["value"], e["lo"], e["hi"], e["n_tasks"] or 0))
        if row["pass_rate"] is not None and "quality.pass_rate" not in series:
            _add(series, "train.pass_rate", at, policies.get(at - 1), (row["pass_rate"], None, None, row["rollouts"] or 0))
        if row["kept"] is not None:
            _add(series, "kept", at, policies.get(at - 1), (float(row["kept"]), None, None, row["rollouts"] or 0))
    return list(series.values())


def _add(by_metric: dict[str, Series], metric: str, iteration: int, policy: str | None, value: tuple[Any, ...]) -> None:
    unit = next((u for name, u in _UNITS.items() if metric.startswith(name)), "share" if "pass" in metric else "")
    unit = "count" if metric == "kept" else unit
    series = by_metric.setdefault(metric, {"metric": metric, "unit": unit, "points": []})
    point = dict(zip(("value", "lo", "hi", "n"), value, strict=True))
    series["points"].append({"iteration": iteration, "policy": policy, **point})  # type: ignore[typeddict-item]


def funnel(store: Store, iteration: int) -> list[Stage]:
    """What a round generated, what was judged, and what each filter left, with tokens and cost where they are known."""
    crop = crop_of(store, iteration)
    generated = sum(m.counts.rows_out for m in crop.rollouts)
    failed = sum(m.counts.failed for m in crop.rollouts)
    stages = [_stage("generated", generated, [("failed", failed)], crop.rollouts)]
    scores = store.read("scores", crop.scores, ["subject_kind", "status", "scorer"])
    mine = scores.filter(pc.and_(pc.equal(scores["subject_kind"], "rollout"), pc.not_equal(scores["scorer"], "reading")))
    counts = {c["values"]: c["counts"] for c in pc.value_counts(mine["status"].combine_chunks()).to_pylist()}
    if counts:
        lost = [(s, counts.get(s, 0)) for s in ("abstain", "error")]
        stages.append(_stage("judged", counts.get("pass", 0) + counts.get("fail", 0), lost, crop.scores))
    curated = [m for m in store.find("curate", iteration) if m.shard == "default"]
    if curated:
        stages += _filtered(store.read("decisions", curated), generated)
    return stages


def _filtered(decisions: pa.Table, generated: int) -> list[Stage]:
    """One stage a filter, by the order of steps; a row is dropped once."""
    decisions = decisions.filter(pc.equal(decisions["subject_kind"], "rollout"))
    dropped = decisions.filter(pc.invert(pc.fill_null(decisions["keep"], True)))
    by_step: dict[tuple[int, str], dict[str, set[str]]] = {}
    for row in decisions.select(["step", "filter"]).group_by(["step", "filter"]).aggregate([]).to_pylist():
        by_step[row["step"] or 0, row["filter"] or ""] = {}
    for row in dropped.select(["step", "filter", "reason", "subject_id"]).to_pylist():
        reasons = by_step[row["step"] or 0, row["filter"] or ""]
        reasons.setdefault(row["reason"] or row["filter"] or "", set()).add(row["subject_id"])
    stages, gone, left = [], set[str](), generated
    for (_, name), reasons in sorted(by_step.items(), key=lambda item: item[0][0]):
        drops = []
        for reason, subjects in sorted(reasons.items()):
            new = subjects - gone
            gone |= new
            left -= len(new)
            drops.append((reason, len(new)))
        stages.append(_stage(name, left, drops, []))
    return stages


def _stage(name: str, rows: int, dropped: list[tuple[str, int]], manifests: Any) -> Stage:
    artifacts: list[Manifest] = list(manifests)
    tokens = sum(m.counts.prompt_tokens + m.counts.sampled_tokens for m in artifacts)
    costs = [m.counts.cost for m in artifacts if m.counts.cost is not None]
    reasons: list[Dropped] = [{"reason": reason, "rows": n} for reason, n in dropped if n]
    return {"stage": name, "rows": rows, "dropped": reasons, "tokens": tokens or None, "cost": sum(costs) if costs else None}
