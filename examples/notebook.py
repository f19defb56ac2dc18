"""A finished run in a notebook: `python examples/notebook.py runs/smoke`. Each block is a cell; nothing here asks a model."""

# %% open it
from __future__ import annotations

import sys
from pathlib import Path

from ratoon import Run

run = Run(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/smoke"))
print(run)

# %% how it went: one dict per round
for row in run.rounds():
    print(row["round"], row["rollouts"], row["kept"], row["pass@1"])

# %% any question is SQL; the answer is a DuckDB relation, so .df(), .fetchall() and .to_arrow_table() are one call away
table = run.sql("select family, g.iteration, avg(pass_rate) as pass_rate from groups g join tasks using (task_id) group by all")
print(table.to_arrow_table().sort_by([("family", "ascending"), ("iteration", "ascending")]).to_pylist())

# %% rows as a person reads them, and one of them through every table
dropped = run.show("dropped", n=1)[0]
print(dropped["text"], "|", dropped["filter"], "|", dropped["reason"])
print({name: len(rows) for name, rows in run.explain(dropped["rollout_id"]).items()})

# %% another decision on the same numbers: seconds, no model
for row in run.curate("hard", sets=["filters=[{kind='verified'}, {kind='pass_rate', hi=0.5}]"]):
    print(row["round"], row["kept"], "of", row["candidates"])

# %% what a trainer would see
print(run.dataset("hard").select(["prompt", "completion", "pass_rate"]).slice(0, 2).to_pylist())
