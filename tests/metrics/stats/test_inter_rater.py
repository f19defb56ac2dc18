"""Agreement by closed forms and by the published example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import UsageError
from ratoon.metrics.stats.inter_rater import agreement

N = None
# Krippendorff's reliability data: four observers, twelve units (Content Analysis, ch. 12).
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
UNITS = [list(unit) for unit in zip(*OBSERVERS, strict=True)]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level: str, alpha: float) -> None:
    found = agreement(UNITS, level)  # type: ignore[arg-type]
    assert found is not None
    assert round(found.alpha, 3) == alpha
    assert (found.units, found.ratings) == (11, 40)  # one unit has a single rating


def test_perfect_agreement_is_one_and_opposition_is_below_zero() -> None:
    assert agreement([[1, 1], [2, 2], [5, 5]]).alpha == 1
    assert agreement([[1, 2], [2, 1], [1, 2]]).alpha < 0


def test_where_nothing_varies_alpha_is_unknown_and_raw_agreement_is_whole() -> None:
    found = agreement([[3, 3], [3, 3]])
    assert (found.raw, found.alpha) == (1.0, None)


def test_rare_dissent_lowers_alpha_far_below_raw_agreement() -> None:
    found = agreement([[1, 1]] * 98 + [[1, 2]] * 2)
    assert found.raw == 0.98
    assert found.alpha < 0.01


def test_units_rated_once_say_nothing() -> None:
    assert agreement([[1, None], [None, 2], []]) is None


@given(st.lists(st.lists(st.sampled_from([1, 2, 3, None]), min_size=2, max_size=4), min_size=1, max_size=8), st.randoms())
def test_no_order_of_units_or_ratings_changes_a_number(units: list[list[float | None]], random: object) -> None:
    shuffled = [random.sample(unit, len(unit)) for unit in random.sample(units, len(units))]  # type: ignore[attr-defined]
    first, second = agreement(units, "interval"), agreement(shuffled, "interval")
    if first is None or second is None:
        assert first is second
        return
    assert first.raw == pytest.approx(second.raw)
    assert first.alpha == (None if second.alpha is None else pytest.approx(second.alpha))


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="ratio"):
        agreement([[1, 2]], "ratio")  # type: ignore[arg-type]
