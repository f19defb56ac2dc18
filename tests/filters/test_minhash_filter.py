"""Near-duplicates by stored edges: one row of a cluster stays, the best, whatever the order; a past one lets none stay."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.errors import DataError
from ratoon.filters.decide import decide
from ratoon.filters.minhash import MinHashFilterConfig


def rows(values: dict[str, float | None]) -> pa.Table:
    return pa.table({"rollout_id": pa.array(list(values), pa.string()), "value": pa.array(list(values.values()), pa.float64())})


def edges(*found: tuple[str, str, float], kind: str = "minhash") -> pa.Table:
    return schema.from_rows("edges", [{"kind": kind, "a_id": a, "b_id": b, "similarity": s} for a, b, s in found])


def dropped(table: pa.Table, known: pa.Table, past: list[str] = [], **config: float | str) -> dict[str, tuple[str, str]]:  # noqa: B006
    side = {"edges": known, "past": pa.table({"subject_id": pa.array(past, pa.string())})}
    decisions = decide(table, [("minhash", MinHashFilterConfig(**config))], "c", side=side)
    return {r["subject_id"]: (r["reason"], r["evidence_id"]) for r in decisions.to_pylist() if not r["keep"]}


def test_the_best_of_a_cluster_stays_then_the_smallest_id() -> None:
    known = edges(("a", "b", 0.9), ("b", "c", 0.85), ("d", "e", 0.9))
    assert dropped(rows({"a": 0, "b": 0, "c": 1, "d": 1, "e": 1, "f": 1}), known) == {
        "a": ("near_duplicate", "c"), "b": ("near_duplicate", "c"), "e": ("near_duplicate", "d"),
    }  # fmt: skip


def test_an_edge_below_the_threshold_joins_nothing() -> None:
    assert dropped(rows({"a": 1, "b": 1}), edges(("a", "b", 0.79))) == {}
    assert set(dropped(rows({"a": 1, "b": 1}), edges(("a", "b", 0.79)), threshold=0.79)) == {"b"}


def test_edges_of_another_kind_are_not_read() -> None:
    assert dropped(rows({"a": 1, "b": 1}), edges(("a", "b", 1.0), kind="semantic")) == {}


def test_a_row_that_went_earlier_joins_nothing_unless_its_text_is_the_very_same() -> None:
    assert dropped(rows({"a": 1, "c": 1}), edges(("a", "b", 0.9), ("b", "c", 0.9))) == {}
    assert dropped(rows({"b": 1, "c": 1}), edges(("a", "b", 1.0), ("a", "c", 1.0))) == {"c": ("near_duplicate", "b")}
    assert dropped(rows({"b": 1, "d": 1}), edges(("a", "b", 1.0), ("a", "d", 0.9))) == {"d": ("near_duplicate", "b")}


def test_what_an_earlier_dataset_holds_lets_no_like_of_it_stay() -> None:
    known = edges(("a", "old", 0.9), ("a", "b", 0.9), ("c", "gone", 0.9))
    assert dropped(rows({"a": 1, "b": 5, "c": 1}), known, ["old"]) == {
        "a": ("near_duplicate:past", "old"), "b": ("near_duplicate:past", "old"),
    }  # fmt: skip


def test_the_score_can_be_another_column_and_an_unknown_one_comes_last() -> None:
    table = rows({"a": 1, "b": 0, "c": 1}).append_column("pass_rate", pa.array([None, 0.1, 0.9], pa.float64()))
    known = edges(("a", "b", 0.9), ("b", "c", 0.9))
    assert set(dropped(table, known, rank_by="pass_rate")) == {"a", "b"}
    with pytest.raises(DataError, match=r"needs column.*beauty"):
        dropped(table, known, rank_by="beauty")


def test_without_the_edges_the_filter_says_so() -> None:
    with pytest.raises(DataError, match=r"'minhash' needs table.*edges.*past"):
        decide(rows({"a": 1}), [("minhash", MinHashFilterConfig())], "c")


def test_no_rows_and_no_edges_are_no_trouble() -> None:
    assert dropped(rows({}), edges()) == {}
    assert dropped(rows({}), edges(("a", "b", 1.0))) == {}
    assert dropped(rows({"a": None}), edges()) == {}


NAMES = st.sampled_from("abcdefgh")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(NAMES, st.sampled_from([0.0, 1.0, None]), max_size=8),
    st.lists(st.tuples(NAMES, NAMES, st.sampled_from([0.7, 0.8, 0.9, 1.0])).filter(lambda e: e[0] < e[1]), max_size=12),
    st.randoms(),
)
def test_one_stays_of_every_cluster_in_any_order_and_deciding_again_drops_none(
    values: dict[str, float | None], found: list[tuple[str, str, float]], rng: object
) -> None:
    first = dropped(rows(values), edges(*found))
    turned = dict(reversed(values.items()))
    assert dropped(rows(turned), edges(*reversed(found))) == first
    left = {k: v for k, v in values.items() if k not in first}
    assert all(twin in left for _, twin in first.values())
    assert dropped(rows(left), edges(*found)) == {}
    looser = dropped(rows(values), edges(*found), threshold=0.9)
    assert len(looser) <= len(first)
