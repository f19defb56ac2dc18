"""Gold answers taken out of training tasks, so that nothing but measuring can look at them; knows no vote.

A task's id hashes its answer and verifier, so a hidden task is another task: it keeps its messages, problem key and split, and
has neither answer nor verifier, as if a model had written it. The truth goes to table `oracles`, which no filter is given.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.generators.tasks.task_rows import oracle_row
from ratoon.messages import compact


def hide_gold(tasks: pa.Table, oracles: pa.Table) -> tuple[pa.Table, pa.Table]:
    """`tasks` with the training tasks' answers and verifiers gone, and `oracles` with their truth under the new ids.

    Probe and evaluation tasks keep their gold: they are what the run is measured on. Tasks that become one (equal messages,
    different gold) stay one row without an oracle, for nobody could say which is true.
    """
    known = dict(zip(*(oracles[name].to_pylist() for name in ("task_id", "oracle")), strict=True))
    mine = pc.fill_null(pc.equal(tasks["split"], "train"), False)
    hidden: dict[str, dict[str, object]] = {}
    truth: dict[str, set[str | None]] = {}
    for row in tasks.filter(mine).to_pylist():
        id = ids.task_id(compact(row["messages"]), None, None, {}, row["tools"])
        truth.setdefault(id, set()).add(known.get(row["task_id"], row["answer"]))
        hidden.setdefault(id, row | {"task_id": id, "answer": None, "verifier": None, "verifier_args": "{}"})
    kept = tasks.filter(pc.invert(mine))
    rows = pa.concat_tables([kept, schema.from_rows("tasks", hidden.values())]).sort_by("task_id")
    told = [oracle_row(row, said.pop()) for id, row in hidden.items() if len(said := truth[id] - {None}) == 1]  # type: ignore[arg-type]
    others = oracles.filter(pc.is_in(oracles["task_id"], value_set=kept["task_id"].combine_chunks()))
    return rows, pa.concat_tables([others, schema.from_rows("oracles", told)])
