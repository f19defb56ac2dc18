import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.metrics.voting.plurality import plurality, weigh

row = st.tuples(st.integers(0, 3), st.integers(-1, 4), st.booleans(), st.floats(0.1, 3.0))
rows = st.lists(row, max_size=40)


def votes(given: list[tuple[int, int, bool, float]], weighted: bool = False):
    group, choice, present = (np.array([r[i] for r in given], kind) for i, kind in ((0, np.int64), (1, np.int64), (2, bool)))
    return plurality(group, choice, present, 4, np.array([r[3] for r in given], float) if weighted else None)


@given(rows)
def test_the_leader_share_and_margin_are_what_counting_finds(given: list[tuple[int, int, bool, float]]) -> None:
    found = votes(given)
    for g in range(4):
        mine = [r for r in given if r[0] == g and r[2]]
        counts = Counter(r[1] for r in mine if r[1] >= 0).most_common()
        top = counts[0][1] if counts else 0
        second = counts[1][1] if len(counts) > 1 else 0
        assert (found.present[g], found.voters[g]) == (len(mine), sum(n for _, n in counts))
        assert (found.top_votes[g], found.second[g], bool(found.tie[g])) == (top, second, bool(counts) and top == second)
        assert found.winner[g] == (counts[0][0] if top > second else -1)
        assert found.share[g] == pytest.approx(top / len(mine) if mine else 0)
        parts = [n / sum(n for _, n in counts) for _, n in counts]
        assert found.entropy[g] == pytest.approx(-sum(p * math.log(p) for p in parts))


@given(rows, st.randoms(use_true_random=False))
def test_no_order_of_rows_changes_a_bit(given: list[tuple[int, int, bool, float]], random) -> None:
    shuffled = random.sample(given, len(given))
    for weighted in (False, True):
        for a, b in zip(votes(given, weighted), votes(shuffled, weighted), strict=True):
            np.testing.assert_array_equal(a, b)


@given(rows)
def test_equal_weights_are_no_weights(given: list[tuple[int, int, bool, float]]) -> None:
    plain, weighted = votes(given), votes([(*r[:3], 0.7) for r in given], weighted=True)
    np.testing.assert_array_equal(plain.winner, weighted.winner)
    np.testing.assert_allclose(plain.share, weighted.share)
    np.testing.assert_allclose(plain.entropy, weighted.entropy, atol=1e-12)


def test_one_heavy_vote_can_beat_two_light_ones() -> None:
    found = votes([(0, 1, True, 3.0), (0, 2, True, 1.0), (0, 2, True, 1.0), (0, -1, True, 1.0)], weighted=True)
    assert (found.winner[0], found.top_votes[0]) == (1, 1)
    assert (found.share[0], found.margin[0]) == pytest.approx((1 / 2, 1 / 6))


def test_weights_follow_their_formulas() -> None:
    c, g, here = np.log([0.5, 0.25, 0.25, 0.9]), np.array([0, 0, 0, 1]), np.ones(4, bool)
    np.testing.assert_allclose(weigh(c, g, here, "one", 1, 1), 1)
    np.testing.assert_allclose(weigh(c, g, here, "probability", 1, 1), [0.5, 0.25, 0.25, 0.9])
    np.testing.assert_allclose(weigh(c, g, here, "softmax", 1, 1), [1, 0.5, 0.5, 1])
    np.testing.assert_allclose(weigh(c, g, here, "softmax", 0.5, 1), [1, 0.25, 0.25, 1])
    np.testing.assert_allclose(weigh(c, g, here, "rank", 1, 2), [9, 2.25, 2.25, 1])


@pytest.mark.parametrize(("p", "n", "value"), [(0.6, 3, 0.648), (0.6, 9, 0.733), (0.6, 15, 0.787), (0.4, 3, 0.352),
                                               (0.4, 9, 0.267), (0.4, 15, 0.213)])  # fmt: skip
def test_majority_of_two_answers_is_the_binomial_tail(p: float, n: int, value: float) -> None:
    """Every count of right answers once, weighted by its chance."""
    group = np.repeat(np.arange(n + 1), n)
    choice = np.concatenate([np.repeat([1, 0], [k, n - k]) for k in range(n + 1)])
    won = plurality(group, choice, np.ones(len(group), bool), n + 1).winner == 1
    chance = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert sum(np.array(chance)[won]) == pytest.approx(value, abs=5e-4)
