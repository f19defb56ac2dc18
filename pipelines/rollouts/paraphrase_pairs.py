"""Paraphrases are asked together with what they say again: votes of the two wordings are held against each other."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.pipelines.rollouts.first_wave import Preference
from ratoon.pipelines.runtime.context import Context


def prefer(ctx: Context, iteration: int) -> Preference:
    """A wave's tasks bring the tasks along that they paraphrase."""
    return Preference({"twins": True}, along=with_parents)


def with_parents(tasks: pa.Table, chosen: pa.Table) -> pa.Table:
    """The chosen rows of `tasks` and those they are paraphrases of, in id order."""
    parents = pc.unique(chosen["parent_ids"].combine_chunks().flatten())
    task_ids = pa.concat_arrays([chosen["task_id"].combine_chunks(), parents])
    return tasks.filter(pc.is_in(tasks["task_id"], value_set=task_ids)).sort_by("task_id")
