"""Checks of a side's rows against other texts: items of evaluation sets, questions nearby, and rows of other tasks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.metrics.report.frame import text_of
from ratoon.metrics.text import contamination
from ratoon.metrics.text.minhash import MinHashConfig
from ratoon.metrics.text.near_duplicates import near
from ratoon.pipelines.audit.check import Check, flags_at, gap, sampled_rows, share
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

_WORDS = 20  # words from which shingles tell


def contaminated(side: Side, config: AuditConfig, held: pa.Table) -> Check:
    """Flag `contaminated_by`: the item of an evaluation set that a row's prompt or reply holds; the share of such rows."""
    if "matched" in side.stored and not config.benchmarks:
        return _contaminated_as_stored(side, held)
    n = side.rows.num_rows
    if not held.num_rows:
        unknown = {"contaminated_by": pa.nulls(n, pa.string())}
        mend = "name the sets: --benchmark FILE, repeatable"
        return Check(unknown, gaps=[gap("contamination", "no evaluation set is known", mend)])
    at = sampled_rows(side.rows, config.matched, config.seed)
    items = _items(side.rows, at, held)
    flags = flags_at(at, n)
    flags[list(items)] = 1
    sets = ", ".join(sorted(set(held["benchmark"].to_pylist()))[:5])
    said = f"compared with {held.num_rows} questions and answers of {sets}"
    column = pa.array([items.get(i) for i in range(n)], pa.string())
    return Check({"contaminated_by": column}, share("contamination.rows", flags, said=said))


def _items(rows: pa.Table, at: NDArray[np.int64], held: pa.Table) -> dict[int, str]:
    """The first item that tells, by the position of the row: its prompt is looked at before its reply."""
    index = contamination.build(held, contamination.ContaminationConfig())
    positions = pa.array([str(i) for i in at], pa.string())
    items: dict[int, str] = {}
    for name in ("prompt", "completion"):
        texts = rows[name].take(pa.array(at)).combine_chunks()
        for edge in contamination.matches(index, positions, texts).to_pylist():
            if _tells(edge):
                items.setdefault(int(edge["a_id"]), edge["b_id"])
    return items


def _contaminated_as_stored(side: Side, held: pa.Table) -> Check:
    edges = side.stored["matched"].to_pylist()
    items = _paired(side.rows, {edge["a_id"]: edge["b_id"] for edge in edges if _tells(edge)})
    said = f"compared with {held.num_rows} questions and answers of the run"
    flags = np.asarray(pc.is_valid(items)).astype(float)
    return Check({"contaminated_by": items}, share("contamination.rows", flags, said=said))


def _tells(edge: Mapping[str, Any]) -> bool:
    """Whether a match is one that filter `decontaminate` drops by default."""
    rule, tier = DecontaminateConfig(), json.loads(edge["evidence"])["tier"]
    return tier in rule.tiers and (tier != contamination.COVERAGE or edge["similarity"] >= rule.coverage)


def near_question(side: Side, held: pa.Table) -> Check:
    """Flag `near_question`: the question that the run's embeddings put a row near; their share where the run looked."""
    edges = side.stored.get("review")
    if edges is None:
        return Check({"near_question": pa.nulls(side.rows.num_rows, pa.string())})
    items = dict(zip(edges["a_id"].to_pylist(), edges["b_id"].to_pylist(), strict=True))
    questions = _paired(side.rows, items)
    flags = np.asarray(pc.is_valid(questions)).astype(float)
    measures = share("contamination.review", flags, said=f"{held.num_rows} items are known")
    return Check({"near_question": questions}, measures)


def _paired(rows: pa.Table, items: Mapping[str, str]) -> pa.Array:
    """The benchmark item each row is paired with, directly or through its task; null where it is paired with none."""
    subjects = pa.array(list(items), pa.string())
    values = pa.array(list(items.values()), pa.string())
    own, of_task = (values.take(pc.index_in(rows[name].combine_chunks(), value_set=subjects)) for name in ("row_id", "task_id"))
    return pc.coalesce(own, of_task)


def near_copies(side: Side, words: NDArray[np.float64], copy_of: pa.Array, config: AuditConfig) -> Check:
    """Flags `near_of` and `near_similarity`: the row of another task that a row of some length nearly repeats.

    `words` counts each row's words; `copy_of` names the row that it repeats exactly: such a row is no near copy.
    """
    rows, n = side.rows, side.rows.num_rows
    edges = side.stored.get("near")
    at = np.arange(n) if edges is not None else sampled_rows(rows, config.pairs, config.seed)
    at = at[(np.nan_to_num(words) >= _WORDS)[at]]
    nearest: dict[int, tuple[str, float]] = {}
    if len(at) > 1:
        edges = _edges(rows, at) if edges is None else edges
        nearest = _nearest(rows, at, edges, np.asarray(pc.is_valid(copy_of)), config.limits.similarity)
    flags = flags_at(at, n)
    flags[list(nearest)] = 1
    others = [nearest.get(i, (None, None)) for i in range(n)]
    columns = {
        "near_of": pa.array([name for name, _ in others], pa.string()),
        "near_similarity": pa.array([similarity for _, similarity in others], pa.float64()),
    }
    return Check(columns, share("diversity.near_duplicates", flags) if len(at) > 1 else [])


def _edges(rows: pa.Table, at: NDArray[np.int64]) -> pa.Table:
    compared = rows.take(pa.array(at))
    batch = (compared["row_id"].combine_chunks(), text_of(compared).combine_chunks())
    with tempfile.TemporaryDirectory(prefix="ratoon-audit-") as folder:
        return near([batch], MinHashConfig(), Path(folder)).edges


def _nearest(
    rows: pa.Table, at: NDArray[np.int64], edges: pa.Table, copies: NDArray[np.bool_], least: float
) -> dict[int, tuple[str, float]]:
    """The likest row of another task and their similarity, by position: from `least` on, of rows that are no copies."""
    names = rows["row_id"].take(pa.array(at)).to_pylist()
    position = dict(zip(names, at.tolist(), strict=True))
    tasks = rows["task_id"]
    nearest: dict[int, tuple[str, float]] = {}
    for edge in edges.to_pylist():
        a, b = position.get(edge["a_id"]), position.get(edge["b_id"])
        if a is None or b is None:  # an earlier round's, or a short text
            continue
        best = nearest[b][1] if b in nearest else 0.0
        if edge["similarity"] >= max(least, best) and tasks[a] != tasks[b] and not copies[b]:
            nearest[b] = (edge["a_id"], edge["similarity"])
    return nearest
