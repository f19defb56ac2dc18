"""Measures compare only with what was made alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ratoon.errors import Unlike
from ratoon.metrics.stats import measures
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.stats.measures import Measure, compare, of_estimate, of_value

ONE = Measure("diversity.vendi", "1", 40.0, 500, 39.0, 41.0, 7, {"size": 500, "model": "m", "kernel": "linear"})


def test_like_measures_differ_by_an_interval() -> None:
    found = compare(replace(ONE, value=45.0, lo=44.0, hi=46.0), ONE)
    assert found.value == 5
    assert found.lo == pytest.approx(5 - 2**0.5)
    assert compare(ONE, ONE).lo < 0 < compare(ONE, ONE).hi


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"version": "2"}, "version of the metric"),
        ({"metric": "diversity.rke"}, "version of the metric"),
        ({"params": {**ONE.params, "size": 200}}, "one sample size"),
        ({"params": {**ONE.params, "model": "other"}}, "one model"),
    ],
)
def test_unlike_measures_are_refused_with_what_mends_it(change: dict[str, object], hint: str) -> None:
    with pytest.raises(Unlike, match=hint):
        compare(replace(ONE, **change), ONE)  # type: ignore[arg-type]


def test_a_measure_without_an_interval_is_not_compared() -> None:
    with pytest.raises(Unlike, match="no interval"):
        compare(replace(ONE, lo=None), ONE)


def test_notes_seeds_and_values_are_no_part_of_the_fingerprint() -> None:
    assert replace(ONE, value=1.0, n=3, seed=1, note={"a": 1}).fingerprint == ONE.fingerprint


def test_the_table_holds_everything_and_is_read_back() -> None:
    table = measures.table([ONE], "dataset", "d_1", 2)
    assert measures.read(table) == [ONE]
    assert table["fingerprint"].to_pylist() == [ONE.fingerprint]


def test_the_unknown_is_no_row_and_an_endless_interval_is_none() -> None:
    assert of_estimate("x", "1", None, {}) == of_value("x", "1", None, 3, {}) == of_value("x", "1", float("nan"), 3, {}) == []
    (found,) = of_estimate("x", "1", Estimate(1.0, float("nan"), float("inf"), 2), {})
    assert (found.lo, found.hi, found.estimate) == (None, None, None)
