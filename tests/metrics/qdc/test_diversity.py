"""Words, neighbours and regions: closed forms, odd inputs, what collapses and what does not."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError, UsageError
from ratoon.metrics.qdc.diversity import (
    assign,
    chao1,
    codebook,
    compression_ratio,
    cut,
    distinct_n,
    effective_clusters,
    fit_codebook,
    knn_distance,
    nearest,
    neighbour_curve,
    novelty,
    qd_score,
    self_repetition,
    unseen_mass,
)

WORDS = st.lists(st.text(alphabet="ab ", max_size=12), max_size=8)


def test_distinct_n_of_a_small_text() -> None:
    assert distinct_n(["a b a b"], 1) == 0.5
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n(["a", "b"], 2) is None
    assert distinct_n([], 1) is None
    with pytest.raises(UsageError, match="at least 1"):
        distinct_n(["a"], 0)


@given(WORDS)
def test_distinct_n_and_self_repetition_are_what_a_plain_count_finds(texts: list[str]) -> None:
    grams = [tuple(zip(*(t.split()[i:] for i in range(2)), strict=False)) for t in texts]
    flat = [g for row in grams for g in row]
    assert distinct_n(texts, 2) == (pytest.approx(len(set(flat)) / len(flat)) if flat else None)
    df = {g: sum(g in row for row in grams) for g in set(flat)}
    plain = [math.log(1 + sum(df[g] - 1 for g in set(row))) for row in grams]
    assert self_repetition(texts, 2) == (pytest.approx(sum(plain) / len(plain)) if plain else None)


def test_copies_repeat_themselves_and_compress() -> None:
    random = np.random.default_rng(0)
    unlike = [" ".join(f"w{i}" for i in random.integers(0, 5000, 20)) for _ in range(50)]
    alike = unlike[:1] * 50
    assert self_repetition(alike) == pytest.approx(math.log(1 + 17 * 49))
    assert self_repetition(unlike) == pytest.approx(0, abs=0.05)
    for codec in ("gzip", "zstd"):
        few, many = compression_ratio(alike, codec), compression_ratio(unlike, codec)  # type: ignore[arg-type]
        assert few is not None
        assert many is not None
        assert few > 3 * many


@given(st.permutations(["one", "two", "three", "", "東京"]))
def test_the_order_of_texts_changes_no_lexical_number(texts: list[str]) -> None:
    assert compression_ratio(texts) == compression_ratio(sorted(texts))
    assert self_repetition(texts, 1) == self_repetition(sorted(texts), 1)


def test_nothing_has_no_lexical_number_and_odd_text_has_one() -> None:
    assert compression_ratio([]) is None
    assert compression_ratio(["", " "]) is None
    assert compression_ratio([None, None]) is None
    assert compression_ratio(["\ud800 broken", "é" * 1_000_000]) is not None
    assert self_repetition(pa.array([None, "a"])) == 0
    assert cut(["abcdef", None, "é東x"], 2).to_pylist() == ["ab", "é東"]
    with pytest.raises(UsageError, match="codec"):
        compression_ratio(["a"], "rar")  # type: ignore[arg-type]


def test_neighbours_are_counted_without_the_row_itself() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1]])
    assert nearest(rows).tolist() == [1, 1, 0]
    assert nearest(rows, k=2).tolist() == [0, 0, 0]
    assert neighbour_curve(rows, (0.5, 1.0)) == [(0.5, pytest.approx(2 / 3)), (1.0, pytest.approx(2 / 3))]
    assert knn_distance(rows, 1) == pytest.approx(1 / 3)
    assert knn_distance(rows, 5) is None
    assert np.isnan(nearest(rows[:1])).all()
    assert neighbour_curve(rows[:1], (0.5,)) == [(0.5, None)]


@given(st.integers(0, 200), st.integers(2, 20))
def test_blocks_find_what_the_whole_matrix_shows(seed: int, n: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    whole = rows @ rows.T - 3 * np.eye(n)
    assert nearest(rows) == pytest.approx(whole.max(1), abs=1e-6)


def test_novelty_is_distance_to_all_that_came_before_and_unknown_where_nothing_did() -> None:
    rows = np.eye(3)
    assert novelty(rows, rows[:2]).tolist() == [0, 0, 1]
    assert np.isnan(novelty(rows, np.zeros((0, 3)))).all()
    with pytest.raises(DataError, match="one model"):
        novelty(rows, np.eye(4))


@given(st.integers(1, 30), st.integers(1, 9))
def test_uniform_labels_count_as_many_as_there_are(m: int, each: int) -> None:
    assert effective_clusters([each] * m) == pytest.approx(m)


def test_label_counts_have_their_closed_forms() -> None:
    assert effective_clusters([6, 3, 1]) == pytest.approx(2.45455560)
    assert effective_clusters([]) is None
    assert unseen_mass([1, 1, 8]) == 0.2
    assert chao1([1, 1, 2, 5]) == 4 + 2 * 1 / (2 * 2)
    assert chao1([]) is None
    with pytest.raises(DataError, match="negative"):
        effective_clusters([-1])


def test_a_map_finds_planted_regions_and_is_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    rows = np.repeat(np.eye(6), 40, 0) + random.normal(0, 0.05, (240, 6))
    book = fit_codebook(rows, 6, seed=3)
    counts = np.bincount(assign(rows, book), minlength=6)
    assert sorted(counts) == [40] * 6
    assert (
        book.fingerprint == fit_codebook(rows, 6, seed=3).fingerprint == codebook(book.centres.astype(np.float32)).fingerprint
    )
    assert len(fit_codebook(rows[:3], 100).centres) == 3
    assert len(fit_codebook(np.ones((5, 2)), 4).centres) == 4
    assert assign(rows[:0], book).tolist() == []
    with pytest.raises(DataError, match="the map's model"):
        assign(np.eye(5), book)


def test_qd_score_takes_the_best_of_each_cell_and_leaves_the_unknown_out() -> None:
    found = qd_score([0, 0, 2, 3], [0.5, 1.0, 0.25, math.nan], 5)
    assert found == (1.25, 2 / 5, 2)
    assert qd_score([0, 0, 0], [1.0, 0.5, 0.0], 1, top=2).score == 0.75
    assert qd_score([], [], 4) == (0.0, 0.0, 0)
    with pytest.raises(DataError, match="grid"):
        qd_score([5], [1.0], 5)
