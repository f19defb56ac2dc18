"""Population numbers: pass rates over problems, corrected for the verifier, judged means, rank correlation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ratoon.errors import DataError
from ratoon.metrics.qdc.quality import corrected_pass_rate, judged, pass_rate
from ratoon.metrics.stats.calibration import rate


def groups(passed: list[int | None], valid: list[int | None]) -> pa.Table:
    return pa.table({"n_passed": pa.array(passed, pa.int32()), "n_valid": pa.array(valid, pa.int32())})


def test_a_pass_rate_is_over_valid_rollouts_and_its_n_is_problems() -> None:
    found = pass_rate(groups([4, 0, 2, None], [4, 4, 8, 0]), ["a", "a", "b", "c"])
    assert found is not None
    assert found.value == 6 / 16
    assert found.n == 2
    assert found.lo <= found.value <= found.hi


def test_nothing_judged_is_unknown_and_an_absent_column_is_named() -> None:
    assert pass_rate(groups([0], [0])) is None
    assert pass_rate(groups([], [])) is None
    with pytest.raises(DataError, match="n_passed"):
        pass_rate(pa.table({"n_valid": [1]}))


def test_unanimous_groups_still_have_an_interval() -> None:
    found = pass_rate(groups([8] * 50, [8] * 50))
    assert found is not None
    assert (found.value, found.hi) == (1.0, 1.0)
    assert found.lo < 0.97


def test_many_problems_and_few_agree_on_the_interval() -> None:
    random = np.random.default_rng(0)
    passed = random.binomial(4, 0.3, 2001).tolist()
    few, many = pass_rate(groups(passed[:2000], [4] * 2000)), pass_rate(groups(passed, [4] * 2001))
    assert few is not None
    assert many is not None
    assert many.lo == pytest.approx(few.lo, abs=0.003)
    assert many.hi == pytest.approx(few.hi, abs=0.003)


@pytest.mark.parametrize("planted", [0.2, 0.5, 0.9])
def test_a_planted_rate_is_recovered_through_a_bad_verifier(planted: float) -> None:
    random = np.random.default_rng(3)
    right = random.random(4000) < planted
    seen = np.where(right, random.random(4000) < 0.85, random.random(4000) < 0.15)
    observed = rate(int(seen.sum()), 4000)
    found = corrected_pass_rate(observed, rate(60, 400), rate(340, 400))
    assert found.lo <= planted <= found.hi
    assert abs(found.value - planted) < abs(observed.value - planted) or abs(observed.value - planted) < 0.02
    with pytest.raises(DataError, match="not clearly above 0"):
        corrected_pass_rate(observed, rate(50, 100), rate(52, 100))


def test_a_judged_mean_counts_a_subject_once_and_leaves_the_unscored_out() -> None:
    scores = pa.table({"subject_id": ["a", "a", "b", "c"], "value": [1.0, 3.0, 5.0, None]})
    found = judged(scores)
    assert found is not None
    assert (found.value, found.n) == (3.5, 2)
    assert judged(scores.slice(3)) is None
