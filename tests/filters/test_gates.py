"""finish_reason, length, verified and pass_rate: each judges a row by itself, and says why."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import config
from ratoon.errors import ConfigError
from ratoon.filters import finish_reason, length, pass_rate, verified
from ratoon.filters.finish_reason import FinishReasonConfig
from ratoon.filters.length import LengthConfig
from ratoon.filters.pass_rate import PassRateConfig
from ratoon.filters.verified import VerifiedConfig

RATES = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=1, max_size=20)
SIZES = st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=1, max_size=20)


def table(**columns):
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def sized(tokens, texts=None):
    return table(n_tokens=(tokens, pa.int32()), text=(texts or ["x" * (t or 0) for t in tokens], pa.string()))


def rated(rates, lo=None, hi=None):
    return table(pass_rate=(rates, pa.float64()), pass_lo=(lo or rates, pa.float64()), pass_hi=(hi or rates, pa.float64()))


def test_a_cut_off_rollout_is_dropped_for_its_finish_reason():
    verdicts = finish_reason.keep(table(finish_reason=(["stop", "length", "error", None], pa.string())), FinishReasonConfig())
    assert verdicts.reason.to_pylist() == [None, "finish_reason:length", "finish_reason:error", "finish_reason:unknown"]


def test_length_cut_rollouts_stay_when_they_are_allowed():
    verdicts = finish_reason.keep(
        table(finish_reason=(["stop", "length"], pa.string())), FinishReasonConfig(allow=("stop", "length"))
    )
    assert verdicts.keep.tolist() == [True, True]


def test_each_bound_of_length_names_itself_with_value_and_threshold():
    verdicts = length.keep(
        sized([1, 5, 9, 5, 5, None], ["okay", "okay", "okay", "", "o" * 30, "okay"]),
        LengthConfig(min_tokens=2, max_tokens=8, min_chars=1, max_chars=20),
    )
    assert verdicts.reason.to_pylist() == [
        "length:min_tokens", None, "length:max_tokens", "length:min_chars", "length:max_chars", "length:unknown",
    ]  # fmt: skip
    assert verdicts.value.to_pylist() == [1, 5, 9, 0, 30, None]
    assert verdicts.threshold.to_pylist() == [2, None, 8, 1, 20, None]


def test_a_bound_that_is_not_set_does_not_judge_unknown_lengths():
    assert length.keep(sized([None], ["text"]), LengthConfig(max_chars=10)).keep.tolist() == [True]


def test_ends_of_a_length_band_are_kept():
    assert length.keep(sized([2, 8]), LengthConfig(min_tokens=2, max_tokens=8)).keep.tolist() == [True, True]


@settings(deadline=None)
@given(SIZES, st.integers(0, 25), st.integers(25, 50), st.integers(0, 5), st.integers(0, 5))
def test_a_tighter_length_band_never_keeps_more(sizes, low, high, up, down):
    rows = sized(sizes)
    loose = length.keep(rows, LengthConfig(min_tokens=low, max_tokens=high + 10)).keep
    tight = length.keep(rows, LengthConfig(min_tokens=low + up, max_tokens=high + 10 - down)).keep
    assert not (tight & ~loose).any()


def test_every_status_but_pass_is_dropped_by_name():
    rows = table(
        status=(["pass", "fail", "abstain", "error", None], pa.string()),
        label_source=(["verifier"] * 5, pa.string()),
        value=([1.0, 0.0, None, None, None], pa.float64()),
    )
    verdicts = verified.keep(rows, VerifiedConfig())
    assert verdicts.reason.to_pylist() == [
        None, "unverified:fail", "unverified:abstain", "unverified:error", "unverified:unknown",
    ]  # fmt: skip
    assert verdicts.value.to_pylist() == [1.0, 0.0, None, None, None]


def test_a_pass_by_vote_is_no_pass_by_a_verifier():
    rows = table(
        status=(["pass", "pass", "pass", "fail"], pa.string()),
        label_source=(["verifier", "vote", None, "vote"], pa.string()),
        value=([None] * 4, pa.float64()),
    )
    reasons = verified.keep(rows, VerifiedConfig(label_source="verifier")).reason.to_pylist()
    assert reasons == [None, "unverified:label_source", "unverified:label_source", "unverified:fail"]


def test_the_band_drops_low_high_and_unknown_rates():
    verdicts = pass_rate.keep(rated([0.0, 0.25, 0.5, 1.0, None]), PassRateConfig(lo=0.25, hi=0.75))
    assert verdicts.reason.to_pylist() == ["pass_rate:low", None, None, "pass_rate:high", "pass_rate:unknown"]
    assert verdicts.threshold.to_pylist() == [0.25, None, None, 0.75, None]


def test_exclusive_ends_drop_all_right_and_all_wrong_groups():
    config = PassRateConfig(lo=0, hi=1, lo_inclusive=False, hi_inclusive=False)
    assert pass_rate.keep(rated([0.0, 0.5, 1.0]), config).reason.to_pylist() == ["pass_rate:low", None, "pass_rate:high"]


def test_overlap_drops_only_groups_whose_interval_lies_outside():
    rows = rated([0.0, 0.1, 0.9, 1.0], lo=[0.0, 0.02, 0.5, 0.7], hi=[0.3, 0.45, 0.98, 1.0])
    config = PassRateConfig(lo=0.4, hi=0.6, interval="overlap")
    assert pass_rate.keep(rows, config).reason.to_pylist() == ["pass_rate:low", None, None, "pass_rate:high"]


@settings(deadline=None)
@given(RATES, st.floats(0, 0.5), st.floats(0.5, 1), st.floats(0, 0.2), st.floats(0, 0.2), st.booleans(), st.booleans())
def test_a_tighter_band_never_keeps_more(rates, lo, hi, up, down, lo_inclusive, hi_inclusive):
    rows = rated(rates)
    loose = pass_rate.keep(rows, PassRateConfig(lo=lo * 0.5, hi=hi)).keep
    tight = PassRateConfig(
        lo=min(lo * 0.5 + up, 0.45), hi=max(hi - down, 0.46), lo_inclusive=lo_inclusive, hi_inclusive=hi_inclusive
    )
    if tight.lo >= lo * 0.5 and tight.hi <= hi:
        assert not (pass_rate.keep(rows, tight).keep & ~loose).any()


@pytest.mark.parametrize(
    ("model", "tree", "message"),
    [
        (LengthConfig, {}, "without a bound"),
        (LengthConfig, {"min_tokens": 9, "max_tokens": 2}, "9 is above 2"),
        (LengthConfig, {"max_token": 2}, "did you mean 'max_tokens'"),
        (LengthConfig, {"max_tokens": -1}, "greater than or equal to 0"),
        (PassRateConfig, {"lo": 0.8, "hi": 0.2}, "0.8 is above 0.2"),
        (PassRateConfig, {"lo": 0.5, "hi": 0.5, "lo_inclusive": False}, "is empty"),
        (PassRateConfig, {"hi": 1.5}, "less than or equal to 1"),
        (FinishReasonConfig, {"allow": ["stopp"]}, "allow"),
    ],
)
def test_an_impossible_config_is_refused_by_field(model, tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(model, tree, "filters")
