import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.metrics.stats.estimators import (
    bootstrap,
    bootstrap_statistic,
    maj_at_k,
    paired_bootstrap,
    pass_at_k,
    unanimous_rate,
    wilson,
    wilson_columns,
)

counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@pytest.mark.parametrize(("n", "c", "k", "value"), [(10, 3, 1, 0.3), (10, 3, 5, 0.9167), (10, 8, 5, 1.0), (4, 0, 4, 0.0)])
def test_pass_at_k_has_the_published_values(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=5e-5)


@given(counts)
def test_one_right_of_k_is_a_rate_and_of_one_the_share(nck: tuple[int, int, int]) -> None:
    n, c, k = nck
    assert c / n - 1e-12 <= pass_at_k(n, c, k) <= 1
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, -1, 1), (-1, 0, 1), (3, 1, 0), (0, 0, 1), (3, 1.5, 1), (3, True, 1)]
)
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"impossible|no count"):
        pass_at_k(n, c, k)


def test_maj_at_k_has_the_published_value() -> None:
    assert maj_at_k("AAAABBBC", "A", 3) == pytest.approx(0.5714, abs=5e-5)


def by_enumeration(votes: list[str | None], correct: str, k: int) -> float:
    won = 0.0
    for drawn in itertools.combinations(votes, k):
        found = Counter(v for v in drawn if v is not None)
        best = {v for v, n in found.items() if n == max(found.values())}
        won += (correct in best) / max(len(best), 1)
    return won / math.comb(len(votes), k)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["A", "B", "C", "D", None]), min_size=1, max_size=9), st.data())
def test_maj_at_k_equals_enumeration_over_all_subsets(votes: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(votes)))
    assert maj_at_k(votes, "A", k) == pytest.approx(by_enumeration(votes, "A", k))


@given(st.lists(st.sampled_from("AB"), min_size=1, max_size=12))
def test_maj_at_1_is_the_share_of_right_votes_and_order_is_nothing(votes: list[str]) -> None:
    assert maj_at_k(votes, "A", 1) == pytest.approx(votes.count("A") / len(votes))
    assert maj_at_k(votes, "A", len(votes)) == maj_at_k(votes[::-1], "A", len(votes))


def test_silence_never_wins_a_vote() -> None:
    assert maj_at_k([None, None, None], None, 3) == 0.0
    assert maj_at_k([None, None, "A"], "A", 3) == 1.0


def test_maj_at_k_is_exact_for_many_votes() -> None:
    votes = ["A"] * 30 + [str(i % 17) for i in range(34)]
    assert maj_at_k(votes, "A", 64) == 1.0
    assert maj_at_k(votes, "A", 16) > 0.99


@pytest.mark.parametrize("k", [0, 4, -1])
def test_more_votes_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        maj_at_k("AAB", "A", k)


@pytest.mark.parametrize(
    ("successes", "n", "interval"), [(8, 10, (0.4902, 0.9433)), (0, 30, (0.0, 0.1135)), (15, 30, (0.3315, 0.6685))]
)
def test_wilson_has_the_published_values(successes: int, n: int, interval: tuple[float, float]) -> None:
    assert wilson(successes, n) == pytest.approx(interval, abs=5e-5)
    assert type(wilson(successes, n)) is tuple


@given(st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_inside_0_and_1_and_columns_agree(sn: tuple[int, int]) -> None:
    successes, n = sn
    lo, hi = wilson(successes, n)
    assert 0 <= lo <= (successes / n if n else 0) <= hi <= 1
    columns = wilson_columns(np.array([successes]), np.array([n]))
    if n:
        assert (columns[0][0], columns[1][0]) == pytest.approx((lo, hi))
    else:
        assert np.isnan(columns).all()


@pytest.mark.parametrize(("successes", "n", "z"), [(2, 1, 1.96), (-1, 3, 1.96), (0, -1, 1.96), (1, 2, 0)])
def test_an_impossible_proportion_is_refused(successes: int, n: int, z: float) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson(successes, n, z)


def test_the_bootstrap_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    found = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.lo, found.hi) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_clusters_widen_the_interval_when_their_members_agree() -> None:
    values = [float(i // 10 % 2) for i in range(200)]  # 20 clusters of 10 equal values
    alone = bootstrap(values)
    clustered = bootstrap(values, clusters=[i // 10 for i in range(200)])
    assert (alone.n, clustered.n) == (200, 20)
    assert (clustered.hi - clustered.lo) / (alone.hi - alone.lo) == pytest.approx(math.sqrt(10), rel=0.1)


def test_pairing_removes_what_both_share() -> None:
    random = np.random.default_rng(1)
    difficulty = random.uniform(0, 1, 300)
    found = paired_bootstrap(difficulty + 0.05, difficulty)
    assert found.difference == pytest.approx(0.05)
    assert found.hi - found.lo < 1e-9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
def test_swapping_a_and_b_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    there, back = paired_bootstrap(a, b, draws=500), paired_bootstrap(b, a, draws=500)
    assert (there.difference, there.lo, there.hi) == pytest.approx((-back.difference, -back.hi, -back.lo), abs=1e-12)


def test_a_seed_makes_the_interval_repeatable() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(list(range(50)), seed=3) != bootstrap(list(range(50)), seed=4)


def test_the_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(2), 0
    for seed in range(200):
        a, b = random.binomial(4, 0.5, 60) / 4, random.binomial(4, 0.4, 60) / 4
        found = paired_bootstrap(a, b, draws=400, seed=seed)
        covered += found.lo <= 0.1 <= found.hi
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap([]),
        lambda: bootstrap([1.0, math.nan]),
        lambda: bootstrap([1.0], clusters=[1, 2]),
        lambda: bootstrap([1.0], draws=0),
        lambda: bootstrap([1.0], level=1.0),
        lambda: paired_bootstrap([1.0], [1.0, 2.0]),
    ],
)
def test_a_bootstrap_of_nothing_sensible_is_refused(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]


def test_memory_of_a_large_bootstrap_is_bounded_by_chunks() -> None:
    found = bootstrap_statistic(np.ones((50_000, 1)), lambda means: means[:, 0], draws=60)
    assert tuple(found) == (1.0, 1.0, 1.0, 50_000)


def test_two_hundred_failures_and_no_success_leave_room_for_a_rare_success() -> None:
    found = unanimous_rate(bootstrap([0.0] * 200, draws=50), 200)
    assert (found.value, found.lo, found.hi) == (0.0, 0.0, pytest.approx(0.0188, abs=1e-4))
    assert unanimous_rate(bootstrap([1.0] * 200, draws=50), 200).lo == pytest.approx(1 - found.hi)
    for values in ([0.5] * 20, [0.0, 1.0] * 10):
        assert unanimous_rate(bootstrap(values, draws=50), 20) == bootstrap(values, draws=50)
