import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError, UsageError
from ratoon.metrics.stats.calibration import auroc, brier, collapse, difference, ece, rate, risk_coverage, rogan_gladen
from ratoon.metrics.stats.estimators import Estimate

labelled = st.lists(st.tuples(st.integers(0, 8).map(lambda k: k / 8), st.booleans()), min_size=1, max_size=40)


def test_ece_of_one_confidence_is_the_distance_to_the_accuracy() -> None:
    assert ece([0.9] * 10, [1] * 6 + [0] * 4) == pytest.approx(0.3)
    assert ece([0.6] * 10, [1] * 6 + [0] * 4) == pytest.approx(0.0)


def test_ece_bins_hold_equal_mass() -> None:
    # Two bins of two: |.1 - 0|, |.9 - .5|; bins of equal width would put three rows into one.
    assert ece([0.0, 0.2, 0.8, 1.0], [0, 0, 1, 0], bins=2) == pytest.approx((0.1 + 0.4) / 2)


def test_ece_of_a_calibrated_sample_is_near_zero_and_of_a_boastful_one_near_its_excess() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.0, 0.8, 20_000)
    right = random.uniform(size=p.size) < p
    assert ece(p, right) < 0.02
    assert ece(p + 0.2, right) == pytest.approx(0.2, abs=0.02)


def test_brier_has_its_closed_form() -> None:
    assert brier([0.5, 0.5, 1.0, 0.0], [1, 0, 1, 0]) == 0.125
    assert brier([1.0, 0.0], [0, 1]) == 1.0


def test_auroc_is_the_mann_whitney_statistic() -> None:
    assert auroc([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == 1.0
    assert auroc([0.1, 0.9], [1, 0]) == 0.0
    assert auroc([0.5, 0.5, 0.5], [1, 0, 0]) == 0.5
    assert auroc([0.5, 0.7], [1, 1]) is None


@given(labelled.filter(lambda rows: len({r for _, r in rows}) == 2))
def test_auroc_counts_pairs(rows: list[tuple[float, bool]]) -> None:
    good, bad = [c for c, r in rows if r], [c for c, r in rows if not r]
    won = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    assert auroc([c for c, _ in rows], [r for _, r in rows]) == pytest.approx(won / len(good) / len(bad))


@given(labelled, st.randoms(use_true_random=False))
def test_no_order_of_rows_changes_a_number(rows: list[tuple[float, bool]], random) -> None:
    shuffled = random.sample(rows, len(rows))
    for measure in (ece, brier, auroc, risk_coverage):
        here, there = (measure([c for c, _ in r], [x for _, x in r]) for r in (rows, shuffled))
        assert here == there if measure in (auroc, risk_coverage) else here == pytest.approx(there)


def test_risk_falls_with_coverage_where_confidence_ranks() -> None:
    curve = risk_coverage([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert [(p.threshold, p.coverage, p.n) for p in curve] == [(0.9, 0.25, 1), (0.5, 0.75, 3), (0.1, 1.0, 4)]
    assert [p.risk for p in curve] == pytest.approx([0, 1 / 3, 1 / 2])


def test_rogan_gladen_undoes_the_errors_it_is_told() -> None:
    true, fpr, tpr = 0.3, 0.1, 0.8
    seen = true * tpr + (1 - true) * fpr
    found = rogan_gladen(rate(round(seen * 10_000), 10_000), rate(1_000, 10_000), rate(8_000, 10_000))
    assert found.value == pytest.approx(true, abs=1e-3)
    assert found.lo < true < found.hi
    perfect = rogan_gladen(rate(8, 10), Estimate(0.0, 0.0, 0.0, 1), Estimate(1.0, 1.0, 1.0, 1))
    assert perfect == pytest.approx(rate(8, 10))


def test_each_input_s_uncertainty_widens_the_interval() -> None:
    def width(n_obs: int, n_fpr: int, n_tpr: int) -> float:
        found = rogan_gladen(rate(n_obs // 2, n_obs), rate(n_fpr // 10, n_fpr), rate(9 * n_tpr // 10, n_tpr))
        return found.hi - found.lo

    sharp = width(10_000, 10_000, 10_000)
    assert all(width(*sizes) > 1.5 * sharp for sizes in ((100, 10_000, 10_000), (10_000, 100, 10_000), (10_000, 10_000, 100)))


def test_the_corrected_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, true, fpr, tpr = np.random.default_rng(1), 0.35, 0.08, 0.85
    seen = random.binomial(400, true * tpr + (1 - true) * fpr, 2_000)
    false, hits = random.binomial(150, fpr, 2_000), random.binomial(150, tpr, 2_000)
    inside = 0
    for s, f, t in zip(seen.tolist(), false.tolist(), hits.tolist(), strict=True):
        found = rogan_gladen(rate(s, 400), rate(f, 150), rate(t, 150))
        inside += found.lo <= true <= found.hi
    assert 0.935 <= inside / 2_000 <= 0.975


def test_a_verifier_that_says_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="not clearly above 0"):
        rogan_gladen(rate(50, 100), rate(4, 10), rate(6, 10))
    with pytest.raises(DataError, match="not clearly above 0"):
        rogan_gladen(rate(50, 100), rate(600, 1_000), rate(400, 1_000))


@given(st.integers(0, 50), st.integers(0, 40), st.integers(0, 40))
def test_a_corrected_rate_is_a_rate_inside_its_interval_or_refused(seen: int, false: int, hits: int) -> None:
    try:
        found = rogan_gladen(rate(seen, 50), rate(false, 40), rate(hits, 40))
    except DataError:
        assert difference(rate(hits, 40), rate(false, 40)).lo <= 0
    else:
        assert 0 <= found.lo <= found.value <= found.hi <= 1


def test_difference_has_newcombe_s_published_interval() -> None:
    # Newcombe (1998), 56/70 against 48/80, method 10.
    assert difference(rate(56, 70), rate(48, 80))[:3] == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_rising_agreement_with_flat_or_falling_accuracy_is_collapse() -> None:
    low, high = rate(500, 1_000), rate(800, 1_000)
    assert collapse([low, high], [low, low]) == "flat"
    assert collapse([low, low, high], [high, low, low]) == "falling"
    assert collapse([low, high], [low, high]) is None
    assert collapse([high, high], [high, low]) is None
    assert collapse([high, low], [low, low]) is None
    assert collapse([high], [low]) is None
    assert collapse([], []) is None


@pytest.mark.parametrize(("sure", "right"), [([], []), ([0.5], []), ([1.2], [1]), ([float("nan")], [1]), ([0.5], [None])])
def test_what_is_no_labelled_confidence_is_refused(sure: list[float], right: list[float]) -> None:
    for measure in (ece, brier, auroc, risk_coverage):
        with pytest.raises(UsageError):
            measure(sure, right)
