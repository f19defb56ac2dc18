"""How a run ends: the plot, the same question before and after, and what to try next. Reads only, but for the plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ratoon import sql
from ratoon.metrics.report import progress_plot as progress
from ratoon.reply import ANSWER_SQL
from ratoon.store.store import Store

_PAIRS = """
with asked as (
    select a.iteration, a.task_id, coalesce(r.answer_text, '') as "text", s.status, r.sample
    from (select *, {answer} as answer_text from rollouts) r
    join scores s on s.subject_id = r.rollout_id and s.subject_kind = 'rollout'
    join assignments a on a.task_id = r.task_id and a.iteration = r.iteration and a.sampling_id = r.sampling_id
    where a.purpose = 'suite:heldout'
    qualify row_number() over (partition by a.iteration, a.task_id order by r.sample) = 1
), bounds as (select min(iteration) as first, max(iteration) as last from asked)
select t.messages[-1].content as prompt, b.text as before, b.status as before_status, a.text as after, a.status as after_status
from asked b join asked a using (task_id) join tasks t using (task_id), bounds
where b.iteration = bounds.first and a.iteration = bounds.last and bounds.first < bounds.last
qualify row_number() over (partition by t.family order by hash(t.task_id)) = 1
order by hash(t.family) limit {n}
"""


def before_after(store: Store, n: int) -> list[dict[str, Any]]:
    """The first sample of the same held-out tasks under the base and the newest policy, one a family, chosen by hash."""
    return sql.query(store, _PAIRS.format(n=int(n), answer=ANSWER_SQL)).to_pylist()


def plot(store: Store) -> Path | None:
    """RUN/reports/progress.png; null when fewer than two policies were evaluated."""
    evals = store.read("evals").to_pylist()
    evals = [row for row in evals if row["suite"] == "heldout"]
    if len({row["policy_id"] for row in evals if not row["policy_id"].startswith("trivial")}) < 2:
        return None
    path = store.root / "reports" / "progress.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.plot(evals, path)
    return path


def next_steps(store: Store, table: list[dict[str, Any]]) -> list[str]:
    """Commands worth trying now, chosen by what the rounds and the recipe show."""
    root, config = store.root, store.config()
    by_family = "select family, avg(pass_rate) from groups join tasks using (task_id) group by all"
    lines = [f'ratoon sql {root} "{by_family}"', f"ratoon show {root} --dropped -n 3"]
    caps = [i for i, f in enumerate(config["filters"]) if f["kind"] == "cap_per_task" and f["k"] > 1]
    if caps:
        lines.append(f"ratoon curate {root} --name strict --set filters.{caps[0]}.k=1")
    last = table[-1] if table else None
    if last is not None and last["step"] is not None and (last["step"]["lo"] or 0) > 0:
        lines.insert(
            0,
            f"ratoon run {config['run']['name']} --run {root} --iterations {last['round'] + 1}   # the last round still gained",
        )
    return ["try next:", *(f"  {line}" for line in lines)]
