"""Connected components by union-find on arrays, and which row of each stays; knows no kind of edge.

Edges of similarity 1 join rows even through one that is not among the rows any more (its text is theirs). Any other edge
counts only while both its ends are there, so that nothing is dropped for the sake of a row that went at an earlier step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.columns import numbers, whole
from ratoon.filters.filter import Side, Verdicts, coded

_SAME = 1 - 1e-6
_CHUNK = 1 << 20


class Edges(NamedTuple):
    """Edges between nodes: `ids` of the nodes, `at` their row or -1, `a` and `b` their numbers."""

    ids: pa.Array
    at: np.ndarray
    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray


def keep_best(
    rows: pa.Table, side: Side, kind: str, version: str | None, threshold: float, rank_by: str, reason: str
) -> Verdicts:
    """Keep one row of each component: the best by `rank_by`, then the smallest id; none where a past row is in it.

    Drops for `reason` (the evidence is the row that stays) or `reason:past` (the past row); the value is the row's highest
    similarity to another of its component.
    """
    edges = _edges(rows, side["edges"], kind, version, threshold)
    n = len(edges.ids)
    past = np.asarray(pc.is_in(edges.ids, value_set=whole(side["past"]["subject_id"]).cast(pa.string())))
    present = edges.at >= 0
    label, linked = _components(edges, present | past)
    score = np.full(n, -np.inf)
    score[present] = np.nan_to_num(numbers(rows[rank_by])[edges.at[present]], nan=-np.inf, neginf=-np.inf)
    rank = np.empty(n, np.int64)
    rank[np.asarray(pc.sort_indices(edges.ids))] = np.arange(n)
    members = np.flatnonzero(present | past)
    order = members[np.lexsort((rank[members], -score[members], ~past[members], label[members]))]
    first = np.ones(len(order), bool)
    first[1:] = label[order][1:] != label[order][:-1]
    survivor = order[first][np.cumsum(first) - 1] if len(order) else order
    lost = (order != survivor) & present[order] & ~past[order]
    return _verdicts(rows, edges, order[lost], survivor[lost], past, linked, threshold, reason)


def unite(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The labels after node a[i] is joined with b[i]: a node's label is the smallest node of its component."""
    for start in range(0, len(a), _CHUNK):
        left, right = a[start : start + _CHUNK], b[start : start + _CHUNK]
        while True:
            lo, hi = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
            open_ = lo != hi
            if not open_.any():
                break
            np.minimum.at(labels, hi[open_], lo[open_])
            while (shorter := labels[labels]).tobytes() != labels.tobytes():
                labels = shorter
            left, right = left[open_], right[open_]
    return labels


def _edges(rows: pa.Table, edges: pa.Table, kind: str, version: str | None, threshold: float) -> Edges:
    near_enough = pc.and_(pc.equal(edges["kind"], kind), pc.greater_equal(edges["similarity"], threshold))
    if version is not None:
        near_enough = pc.and_(near_enough, pc.equal(edges["version"], version))
    edges = edges.filter(near_enough)
    both = pa.chunked_array([*edges["a_id"].chunks, *edges["b_id"].chunks], pa.string())
    nodes = both.combine_chunks().dictionary_encode()
    codes = np.asarray(nodes.indices).astype(np.int64)
    at = pc.index_in(nodes.dictionary, value_set=whole(rows["rollout_id"]).cast(pa.string()))
    where = np.asarray(pc.fill_null(at, -1)).astype(np.int64)
    return Edges(nodes.dictionary, where, codes[: edges.num_rows], codes[edges.num_rows :], numbers(edges["similarity"]))


def _components(edges: Edges, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The component of each node, and which edges count."""
    same = edges.similarity >= _SAME
    label = unite(np.arange(len(edges.ids)), edges.a[same], edges.b[same])
    stands = np.zeros(len(edges.ids), bool)
    stands[label[there]] = True  # a text is there while any row with it is
    linked = same | (stands[label[edges.a]] & stands[label[edges.b]])
    return unite(label, edges.a[linked], edges.b[linked]), linked


def _verdicts(
    rows: pa.Table, edges: Edges, lost: np.ndarray, survivor: np.ndarray, past: np.ndarray, linked: np.ndarray,
    threshold: float, reason: str,
) -> Verdicts:  # fmt: skip
    codes, evidence = np.full(rows.num_rows, -1), np.full(rows.num_rows, -1)
    codes[edges.at[lost]] = past[survivor]
    evidence[edges.at[lost]] = survivor
    nearest = np.full(len(edges.ids), -np.inf)
    for end in (edges.a, edges.b):
        np.maximum.at(nearest, end[linked], edges.similarity[linked])
    value = np.full(rows.num_rows, np.nan)
    value[edges.at[lost]] = nearest[lost]
    evidence_ids = edges.ids.take(pa.array(evidence, mask=evidence < 0))
    return coded(
        codes, [reason, f"{reason}:past"], value=pa.array(value, mask=np.isnan(value)), thresholds=[threshold] * 2,
        evidence_id=evidence_ids,
    )  # fmt: skip
