"""Numbers keep three digits that matter, and an unknown one is a dash."""

from __future__ import annotations

import math

import pytest

from ratoon.metrics.page.number_format import any_value, clipped, full, interval, percent, share, short


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1.0, "1"),
        (0.41237, "0.412"),
        (4.2, "4.20"),
        (51.44, "51.4"),
        (182.6, "183"),
        (12345.6, "12,346"),
        (-0.5, "-0.500"),
        (0.00012, "0.00012"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (1e20, "100,000,000,000,000,000,000"),
    ],
)
def test_three_digits_that_matter(value: float | None, shown: str) -> None:
    assert short(value) == shown


def test_an_unknown_is_no_zero() -> None:
    assert (short(None), share(None), any_value(None)) == ("–", "–", "–")


def test_a_number_comes_with_interval_and_n_or_says_that_it_has_none() -> None:
    assert full(0.5, 0.4, 0.6, 1200) == "0.500 (0.400 to 0.600; n = 1,200)"
    assert interval(None, 0.6) == "no interval"


def test_shares_below_a_tenth_keep_a_digit() -> None:
    assert [share(x) for x in (0.0, 0.0042, 0.31, 1.0)] == ["0 %", "0.4 %", "31 %", "100 %"]


def test_a_share_beside_an_axis_of_percentages_is_in_percent() -> None:
    assert [percent(x) for x in (0.0, 0.5493, 0.00012, None)] == ["0 %", "54.9 %", "0.012 %", "–"]


def test_a_regions_name_loses_whole_words() -> None:
    assert clipped("denominator, operation, division", 28) == "denominator, operation"
    assert clipped("a, b, c", 28) == "a, b, c"
    assert clipped("x" * 40, 28) == "x" * 27 + "…"
