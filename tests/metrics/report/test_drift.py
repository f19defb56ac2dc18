"""Two samples of one source look alike, and two sources do not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ratoon.metrics.embeddings.embed import unit
from ratoon.metrics.report import drift


def rows(n: int, seed: int, shift: float = 0.0, d: int = 16) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=(n, d))
    made[:, 0] += shift
    return unit(made)


def test_mmd_is_near_zero_for_one_source_and_large_for_two() -> None:
    same, other = drift.mmd2(rows(150, 0), rows(150, 1)), drift.mmd2(rows(150, 0), rows(150, 1, 1.0))
    assert same is not None
    assert other is not None
    assert abs(same.value) < 0.005 < other.value
    assert same.p > 0.05
    assert other.p < 0.01


def test_mmd_is_the_textbook_sum() -> None:
    x, y = rows(5, 0), rows(4, 1)

    def k(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.exp((np.minimum(a.astype(float) @ b.astype(float).T, 1) - 1) / drift.SIGMA**2)

    xx, yy, xy = k(x, x), k(y, y), k(x, y)
    wanted = (xx.sum() - np.trace(xx)) / 20 + (yy.sum() - np.trace(yy)) / 12 - 2 * xy.mean()
    found = drift.mmd2(x, y)
    assert found is not None
    assert found.value == pytest.approx(wanted, abs=1e-6)


def test_p_values_of_one_source_are_spread_evenly() -> None:
    found = [drift.mmd2(rows(40, 2 * s), rows(40, 2 * s + 1), seed=s) for s in range(40)]
    small = np.mean([one is not None and one.p <= 0.2 for one in found])
    assert 0.02 < small < 0.45


def test_a_classifier_cannot_tell_one_source_and_can_tell_two() -> None:
    x, y = rows(200, 0), rows(200, 1)
    same = drift.two_sample(x, y, list(range(400)))
    other = drift.two_sample(x, rows(200, 1, 1.5), list(range(400)))
    assert same is not None
    assert other is not None
    assert 0.4 < same.value < 0.6
    assert same.lo < 0.5 < same.hi
    assert other.value > 0.85


def test_copies_of_one_task_on_both_sides_do_not_help_the_classifier() -> None:
    x = rows(60, 0)
    found = drift.two_sample(np.repeat(x, 3, 0), np.repeat(x, 3, 0), [i for _ in range(2) for i in np.repeat(range(60), 3)])
    assert found is not None
    assert found.value == pytest.approx(0.5, abs=0.02)


def test_too_few_rows_say_nothing() -> None:
    assert drift.mmd2(rows(1, 0), rows(5, 1)) is None
    assert drift.two_sample(rows(19, 0), rows(50, 1), list(range(69))) is None
    assert drift.gone(rows(10, 0), rows(50, 1), 5) is None


def test_stability_is_zero_for_equal_shapes_and_grows_with_the_shift() -> None:
    was = np.full(10, 100.0)
    moved = np.array([300.0, *[100.0] * 8, 1.0])
    assert drift.psi(was, was) == 0
    assert drift.psi(was * 3, was) == pytest.approx(0, abs=1e-3)
    found = drift.psi(moved, was)
    assert found is not None
    assert found > 0.25
    assert drift.psi(np.zeros(10), was) is None


def test_stability_of_one_source_stays_small_at_any_size() -> None:
    draws = np.random.default_rng(0)
    for n in (60, 300, 3000):
        found = [drift.psi(*drift.by_quantiles(draws.normal(size=n), draws.normal(size=n))) for _ in range(20)]
        assert np.mean([f or 0 for f in found]) < 0.1


def test_rows_far_from_the_other_side_are_found_farthest_first() -> None:
    x = rows(100, 0, d=8)
    odd = np.zeros((3, 8), np.float32)
    odd[:, 0] = 1
    spread = np.abs(x[:, 0]) < 0.5
    found = drift.gone(np.concatenate([x[spread], odd]), x[spread], 5)
    assert found is not None
    assert set(found.rows[:3]) == {int(spread.sum()) + i for i in range(3)}
    assert found.similarity == sorted(found.similarity)


def test_sides_that_are_alike_lose_about_one_row_in_a_hundred() -> None:
    found = [drift.gone(rows(300, 2 * s), rows(300, 2 * s + 1), 10) for s in range(5)]
    assert np.mean([one.share for one in found if one is not None]) < 0.04
