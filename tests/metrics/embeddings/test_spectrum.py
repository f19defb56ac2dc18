"""Vendi, RKE and their merge against closed forms and against what must hold for any vectors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ratoon.errors import DataError, UsageError
from ratoon.metrics.qdc.diversity import (
    alpha_beta_gamma,
    gram,
    merge,
    rke,
    rke_sampled,
    sample_size,
    subsampled,
    unpacked,
    vendi_score,
)

Floats = NDArray[np.float64]
INF = math.inf


def equal_cosine(n: int, c: float) -> Floats:
    """`n` unit rows of which every two have cosine `c`."""
    return np.linalg.cholesky(np.full((n, n), c) + (1 - c) * np.eye(n))


def random_rows(seed: int, n: int = 30, d: int = 6) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("q", [0, 0.5, 1, 2, 5, INF])
def test_identical_rows_count_one_and_orthogonal_rows_count_all(q: float) -> None:
    assert vendi_score(np.ones((7, 3)), q) == pytest.approx(1, abs=1e-6)
    assert vendi_score(np.eye(9), q) == pytest.approx(9, abs=1e-6)
    assert vendi_score(np.eye(9)[:1], q) == pytest.approx(1, abs=1e-6)


def test_equal_cosines_have_their_closed_form() -> None:
    rows = equal_cosine(10, 0.3)
    assert vendi_score(rows) == pytest.approx(7.71531384, abs=1e-6)
    assert vendi_score(rows, 2) == pytest.approx(5.52486188, abs=1e-6)
    assert rke(rows, kernel="linear") == pytest.approx(10**2 / (10 + 90 * 0.3**2), abs=1e-6)


@pytest.mark.parametrize(("c", "score"), [(0.5, 1.75476535), (0.9, 1.21959062), (0.99, 1.03197977)])
def test_two_rows_have_their_closed_form(c: float, score: float) -> None:
    assert vendi_score(equal_cosine(2, c)) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(("q", "score"), [(1, 2.45455560), (2, 2.17391304), (INF, 1.66666667)])
def test_groups_of_identical_rows_count_as_their_shares(q: float, score: float) -> None:
    rows = np.eye(3)[[0] * 6 + [1] * 3 + [2]]
    assert vendi_score(rows, q) == pytest.approx(score, abs=1e-6)


def test_published_values_are_reproduced() -> None:
    assert vendi_score(np.array([[100, 0], [99, 1], [1, 99], [0, 100]])) == pytest.approx(1.99989799, abs=1e-6)


def test_an_rbf_kernel_sees_distance() -> None:
    rows, sigma = equal_cosine(2, 0.5), 0.7
    similarity = math.exp(-(2 - 2 * 0.5) / (2 * sigma**2))
    assert rke(rows, sigma=sigma) == pytest.approx(4 / (2 + 2 * similarity**2), abs=1e-9)
    assert vendi_score(rows, 2, "rbf", sigma) == pytest.approx(rke(rows, sigma=sigma), abs=1e-9)
    assert vendi_score(rows, 1, "rbf", sigma) == pytest.approx(vendi_score(equal_cosine(2, similarity)), abs=1e-6)
    assert vendi_score(np.eye(5), 1, "rbf", 0.01) == pytest.approx(5, abs=1e-6)


def test_lowering_a_cosine_can_lower_the_score_so_nobody_may_promise_monotonicity() -> None:
    def score(third: float) -> float:
        return vendi_score(np.linalg.cholesky(np.array([[1, 0.772, 0.714], [0.772, 1, third], [0.714, third, 1]])))

    assert score(0.301) == pytest.approx(1.948, abs=2e-3)
    assert score(0.108) == pytest.approx(1.841, abs=2e-3)


@given(st.integers(0, 500), st.integers(1, 25), st.integers(1, 8))
def test_the_score_lies_between_one_and_the_rank_and_falls_with_the_order(seed: int, n: int, d: int) -> None:
    rows = random_rows(seed, n, d)
    scores = [vendi_score(rows, q) for q in (0, 0.5, 1, 2, 7, INF)]
    assert all(1 - 1e-9 <= s <= min(n, d) + 1e-6 for s in scores)
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(scores))


@given(st.integers(0, 500))
def test_order_rotation_length_and_copies_of_everything_change_nothing(seed: int) -> None:
    rows = random_rows(seed)
    turn = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(6, 6)))[0]
    for other in (rows[::-1], rows @ turn, rows * 7, np.tile(rows, (3, 1))):
        assert vendi_score(other) == pytest.approx(vendi_score(rows), rel=1e-9)
        assert rke(other) == pytest.approx(rke(rows), rel=1e-9)


@given(st.integers(0, 500), st.integers(1, 29))
def test_merged_sums_are_the_sums_of_the_whole(seed: int, cut: int) -> None:
    rows = random_rows(seed)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    merged = merge([gram(rows[:cut]), gram(rows[cut:]), gram(rows[:0])])
    assert merged.vendi() == pytest.approx(vendi_score(rows), rel=1e-9)
    assert merged.n == 30
    stored = unpacked(merged.n, merged.packed())
    assert (stored.total == merged.total).all()
    assert stored.pairwise_distance() == pytest.approx(1 - (unit @ unit.T).mean())


def test_the_dual_and_the_gram_matrix_agree() -> None:
    wide, tall = random_rows(1, 5, 40), random_rows(1, 40, 5)
    for rows in (wide, tall):
        assert gram(rows).vendi() == pytest.approx(vendi_score(rows), rel=1e-9)


def test_mean_pairwise_distance_is_read_off_the_sums() -> None:
    assert gram(np.eye(4)).pairwise_distance() == pytest.approx(0.75)
    assert gram(np.ones((4, 2))).pairwise_distance() == pytest.approx(0)


@given(st.lists(st.integers(0, 4), min_size=30, max_size=30), st.integers(0, 99))
def test_between_group_diversity_lies_between_one_and_the_effective_number_of_groups(groups: list[int], seed: int) -> None:
    split = alpha_beta_gamma(random_rows(seed, 30, 5), groups)
    share = np.unique(groups, return_counts=True)[1] / 30
    assert 1 - 1e-9 <= split.beta <= math.exp(-(share * np.log(share)).sum()) + 1e-9
    assert split.alpha * split.beta == pytest.approx(split.gamma)


def test_the_two_collapses_are_told_apart() -> None:
    alike_within = alpha_beta_gamma(np.repeat(np.eye(4), 5, 0), np.repeat(np.arange(4), 5).tolist())
    alike_between = alpha_beta_gamma(np.tile(np.eye(5), (4, 1)), np.repeat(np.arange(4), 5).tolist())
    assert (alike_within.alpha, alike_within.beta) == (pytest.approx(1), pytest.approx(4))
    assert (alike_between.alpha, alike_between.beta) == (pytest.approx(5), pytest.approx(1))


def test_sampled_rke_covers_the_exact_value_in_about_nineteen_of_twenty_seeds() -> None:
    rows = random_rows(0, 300, 12)
    exact = rke(rows)
    found = [rke_sampled(rows, pairs=4000, seed=seed) for seed in range(100)]
    assert sum(f.lo <= exact <= f.hi for f in found) >= 88


def test_a_subsample_never_repeats_a_row_and_keeps_to_half_the_clusters() -> None:
    seen: list[NDArray[np.int64]] = []

    def keep(rows: NDArray[np.int64]) -> float:
        seen.append(rows)
        return 0.0

    clusters = [i // 8 for i in range(160)]
    found = subsampled(keep, clusters, size=50)
    assert found.n == 50
    assert all(len(np.unique(rows)) == 50 for rows in seen)
    assert all(len(np.unique(rows // 8)) <= 10 for rows in seen)


def test_an_interval_is_as_wide_as_samples_of_that_size_vary() -> None:
    everything = np.random.default_rng(0).normal(size=100_000)
    samples = [everything[i * 400 : (i + 1) * 400] for i in range(200)]
    means = [sample.mean() for sample in samples]
    found = [subsampled(lambda rows, s=s: float(s[rows].mean()), 400, seed=i) for i, s in enumerate(samples[:40])]
    half_width = np.mean([(f.hi - f.lo) / 2 for f in found])
    assert half_width == pytest.approx(2 * np.std(means), rel=0.25)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (2, 1), (9, 2), (10, 5), (40, 20), (999, 200), (4000, 2000)])
def test_samples_are_of_a_few_fixed_sizes(n: int, size: int) -> None:
    assert sample_size(n) == size


@pytest.mark.parametrize(
    "rows", [np.zeros((0, 3)), np.zeros((3, 3)), np.array([[1.0, math.nan]]), np.array([[math.inf, 1.0]]), np.ones(3)]
)
def test_rows_that_point_nowhere_are_refused(rows: Floats) -> None:
    for score in (vendi_score, rke, rke_sampled):
        with pytest.raises(DataError):
            score(rows)


def test_impossible_orders_kernels_and_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="no order"):
        vendi_score(np.eye(2), -1)
    with pytest.raises(UsageError, match="unknown"):
        vendi_score(np.eye(2), kernel="cosine")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sigma"):
        rke(np.eye(2), sigma=0)
    with pytest.raises(UsageError, match="11 of 10 rows"):
        subsampled(lambda rows: 0.0, 10, size=11)
    with pytest.raises(DataError, match="no union"):
        merge([gram(np.eye(2)), gram(np.eye(3))])
    with pytest.raises(DataError, match="one group a row"):
        alpha_beta_gamma(np.eye(2), [1])
