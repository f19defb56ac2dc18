"""When a warning fires, and when it keeps silent: numbers in, findings out."""

from __future__ import annotations

import pytest

from ratoon import sql
from ratoon.metrics.report.rules import FALLS, SHARES, Case, findings
from ratoon.metrics.report.warnings import WARNINGS, LimitsConfig
from ratoon.metrics.stats.measures import Measure

LIMITS = LimitsConfig()


def of(metric: str, value: float, lo: float | None = None, hi: float | None = None, n: int = 500, **note: object) -> Measure:
    return Measure(metric, "1", value, n, lo, hi, note=note)


def fired(now: list[Measure], was: list[Measure] | None = None, limits: LimitsConfig = LIMITS) -> list[str]:
    sides = ({m.metric: m for m in side} for side in (now, was or []))
    return sorted(one.code for one in findings(Case(*sides, limits)))


def test_no_numbers_raise_nothing() -> None:
    assert fired([]) == []


@pytest.mark.parametrize("rule", [rule for rule in SHARES if rule.limit], ids=lambda rule: rule.code)
def test_a_share_warns_above_its_limit_and_not_at_it(rule: object) -> None:
    limit = getattr(LIMITS, rule.limit)  # type: ignore[attr-defined]
    assert fired([of(rule.metric, limit)]) == []  # type: ignore[attr-defined]
    assert fired([of(rule.metric, limit + 0.01)]) == [rule.code]  # type: ignore[attr-defined]


def test_two_rows_are_too_few_for_a_share_and_one_is_enough_for_contamination() -> None:
    assert fired([of("quality.truncated", 2 / 20, n=20)]) == []
    assert fired([of("quality.truncated", 3 / 20, n=20)]) == ["truncated"]
    assert fired([of("contamination.rows", 1 / 5000, n=5000)]) == ["contaminated"]


@pytest.mark.parametrize("rule", FALLS, ids=lambda rule: rule.code)
def test_a_change_warns_only_where_it_is_large_and_the_intervals_are_disjoint(rule: object) -> None:
    name, sign = rule.metric, rule.sign  # type: ignore[attr-defined]
    far, near = 100 + 40 * sign, 100 + 3 * sign
    was = [of(name, 100, 98, 102)]
    assert fired([of(name, far, far - 2, far + 2)], was) == [rule.code]  # type: ignore[attr-defined]
    assert fired([of(name, far, far - 60, far + 60)], was) == ["small_sample"]
    assert fired([of(name, near, near - 0.1, near + 0.1)], [of(name, 100, 99.9, 100.1)]) == []
    assert fired([of(name, 200 - far, 0, 200 - far)], was) == []
    assert fired([of(name, far, far - 2, far + 2)]) == []


def test_large_samples_are_held_to_the_smaller_limit() -> None:
    def vendi(n: int) -> list[str]:
        return fired([of("diversity.vendi", 92, 91.9, 92.1, n)], [of("diversity.vendi", 100, 99.9, 100.1, n)])

    assert vendi(500) == []
    assert vendi(2000) == ["vendi_down"]


def test_numbers_made_otherwise_are_not_compared() -> None:
    now = Measure("diversity.vendi", "1", 50, 500, 49, 51, params={"size": 500})
    was = Measure("diversity.vendi", "1", 100, 500, 99, 101, params={"size": 1000})
    assert fired([now], [was]) == []


def test_a_region_warns_alone_by_its_share_and_against_another_side_only_when_it_grew() -> None:
    now = [of("diversity.largest_cluster", 0.2, clusters=100, cluster=3, label="a")]
    assert fired(now) == ["large_cluster"]
    assert fired(now, [of("diversity.largest_cluster", 0.15, clusters=100)]) == []
    assert fired(now, [of("diversity.largest_cluster", 0.05, clusters=100)]) == ["large_cluster"]
    assert fired([of("diversity.largest_cluster", 0.4, clusters=8, cluster=1)]) == []


def test_a_family_warns_when_it_is_three_times_what_it_was() -> None:
    assert fired([of("family.sums", 0.5)], [of("family.sums", 0.1), of("family.words", 0.9)]) == ["tag_share"]
    assert fired([of("family.sums", 0.25)], [of("family.sums", 0.1), of("family.words", 0.9)]) == []
    assert fired([of("family.sums", 0.5)], [of("quality.empty", 0.0)]) == []


def test_a_reward_that_follows_length_either_way_warns() -> None:
    for value in (0.6, -0.6):
        assert fired([of("quality.reward_length", value, value - 0.1, value + 0.1)]) == ["reward_length"]
    assert fired([of("quality.reward_length", 0.3, 0.2, 0.4)]) == []


def test_a_reward_that_rises_alone_warns_and_one_that_rises_with_the_pass_rate_does_not() -> None:
    was = [of("quality.reward", 0.5, 0.48, 0.52), of("quality.pass_rate", 0.5, 0.48, 0.52)]
    up = of("quality.reward", 0.7, 0.68, 0.72)
    assert fired([up, of("quality.pass_rate", 0.5, 0.48, 0.52)], was) == ["reward_not_rate"]
    assert fired([up, of("quality.pass_rate", 0.7, 0.68, 0.72)], was) == []


def test_texts_that_grow_while_checking_fades_warn() -> None:
    was = [of("complexity.behaviours", 1.0, 0.9, 1.1), of("complexity.words", 50, 48, 52)]
    fades = of("complexity.behaviours", 0.5, 0.4, 0.6)
    assert fired([fades, of("complexity.words", 90, 88, 92)], was) == ["behaviours_down"]
    assert fired([fades, of("complexity.words", 50, 48, 52)], was) == []


def test_a_selection_no_better_than_chance_warns_and_a_wider_one_does_not() -> None:
    quality = [of("selection.quality", 0.5, 0.45, 0.55), of("selection.quality_control", 0.5, 0.45, 0.55)]
    wider = [of("selection.diversity", 50, 49, 51), of("selection.diversity_control", 40, 39, 41)]
    assert fired(quality) == ["selection_no_better"]
    assert fired(quality + wider) == []
    assert fired([of("selection.quality", 0.9, 0.85, 0.95), quality[1]]) == []


def test_an_auc_a_verifier_and_a_calibration_beyond_their_limits_warn() -> None:
    assert fired([of("drift.auc", 0.9, 0.87, 0.93)]) == ["drift"]
    assert fired([of("drift.auc", 0.7, 0.67, 0.73)]) == []
    assert fired([of("verifier.fpr/numeric", 0.03, 0.01, 0.07)]) == ["verifier_fpr"]
    assert fired([of("consensus.ece", 0.2)]) == ["calibration"]
    assert fired([of("drift.length_psi", 0.5)]) == ["length_drift"]


def test_an_update_of_which_less_than_half_is_written_warns() -> None:
    assert fired([of("training.update_kept", 0.49, n=1)]) == ["update_lost"]
    assert fired([of("training.update_kept", 0.5, n=1)]) == []


def test_every_rule_has_an_entry_in_the_catalogue_and_its_sql_is_one_select() -> None:
    assert {rule.code for rule in (*SHARES, *FALLS)} <= set(WARNINGS)
    one = findings(Case({"quality.truncated": of("quality.truncated", 0.5)}, {}, LIMITS))[0]
    sql.check(one.sql)
