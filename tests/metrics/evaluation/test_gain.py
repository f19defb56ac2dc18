import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.metrics.evaluation.gain import decompose

sample = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda x: (min(x) / 4, max(x) / 4))  # passed ≤ finished


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(sample, sample), min_size=1, max_size=15))
def test_the_two_parts_sum_to_the_gain(pairs: list) -> None:
    now, before = [p for p, _ in pairs], [q for _, q in pairs]
    gain = decompose(*zip(*now, strict=True), *zip(*before, strict=True), draws=50)
    assert gain.finishing.value + gain.accuracy.value == pytest.approx(gain.total.value)
    assert gain.total.value == pytest.approx(np.mean([p for p, _ in now]) - np.mean([p for p, _ in before]))


def test_more_finished_replies_of_the_same_quality_are_all_finishing() -> None:
    gain = decompose([0.4] * 10, [0.8] * 10, [0.2] * 10, [0.4] * 10)
    assert (gain.finishing.value, gain.accuracy.value) == pytest.approx((0.2, 0.0))


def test_better_replies_of_the_same_number_are_all_accuracy() -> None:
    gain = decompose([0.6] * 10, [0.8] * 10, [0.2] * 10, [0.8] * 10)
    assert (gain.finishing.value, gain.accuracy.value) == pytest.approx((0.0, 0.4))


def test_a_mixed_gain_is_split_evenly_between_the_two_orders() -> None:
    gain = decompose([0.72] * 4, [0.9] * 4, [0.25] * 4, [0.5] * 4)  # right-given-finished .8 and .5
    assert (gain.finishing.value, gain.accuracy.value) == pytest.approx((0.4 * 0.65, 0.3 * 0.7))


def test_a_policy_that_never_finished_gains_by_finishing() -> None:
    gain = decompose([0.5], [1.0], [0.0], [0.0], draws=20)
    assert (gain.finishing.value, gain.accuracy.value) == pytest.approx((0.5, 0.0))
