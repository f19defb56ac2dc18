"""The rank correlation: exact where it must be 1, and only over what is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.metrics.stats.correlation import spearman


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_rank_correlation_is_one_with_any_rising_function_of_itself(values: list[int]) -> None:
    found = spearman(values, [v**3 for v in values])
    assert found == (pytest.approx(1.0) if len(set(values)) > 1 else None)


def test_rank_correlation_leaves_unknown_pairs_out() -> None:
    assert spearman([1, 2, float("nan"), 3], [3, 2, 9, 1]) == -1.0
    with pytest.raises(DataError, match="one length"):
        spearman([1], [1, 2])
