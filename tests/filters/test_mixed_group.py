"""Groups with contrast stay whole; a group without says why it went."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ratoon.filters import mixed_group
from ratoon.filters.mixed_group import MixedGroupConfig

STATUS = st.sampled_from(["pass", "fail", "abstain", "error", None])


def rows(*made):
    """(group_id, status, pass_rate), and a stop_rule where there is one"""
    columns = list(zip(*((*row, None)[:4] for row in made), strict=True)) or [()] * 4
    kinds = {"group_id": pa.string(), "status": pa.string(), "pass_rate": pa.float64(), "stop_rule": pa.string()}
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)})


def reasons(*made):
    return mixed_group.keep(rows(*made), MixedGroupConfig()).reason.to_pylist()


def test_groups_all_right_all_wrong_or_unjudged_go_and_mixed_ones_stay_whole():
    made = [("a", "pass", 1.0), ("b", "fail", 0.0), ("c", None, None), ("d", "pass", 0.5), ("d", "fail", 0.5)]
    assert reasons(*made) == ["group:all_right", "group:all_wrong", "group:unjudged", None, None]


def test_a_group_that_was_stopped_early_never_teaches_by_contrast():
    made = [("d", "pass", 0.5, "curtail"), ("d", "fail", 0.5, "curtail"), ("e", "pass", 0.5), ("e", "fail", 0.5)]
    assert reasons(*made) == ["group:stopped", "group:stopped", None, None]


def test_a_rollout_that_nobody_judged_goes_alone():
    made = [("d", "pass", 0.5), ("d", "abstain", 0.5), ("d", "fail", 0.5), ("d", "error", 0.5)]
    assert reasons(*made) == [None, "rollout:unjudged", None, "rollout:unjudged"]


def test_a_mixed_group_of_which_only_one_side_is_left_goes():
    assert reasons(("d", "pass", 0.5), ("d", "pass", 0.5), ("e", "fail", 0.2)) == ["group:one_sided"] * 3


def test_a_row_of_no_group_has_no_contrast():
    assert reasons((None, "pass", 0.5), (None, "fail", 0.5)) == ["group:one_sided"] * 2


@given(st.lists(st.tuples(st.sampled_from("abc"), STATUS), max_size=12), st.randoms())
def test_every_kept_group_holds_both_kinds_whatever_the_order_of_rows(made, random):
    rate = {}
    for group in "abc":
        judged = [s for g, s in made if g == group and s in ("pass", "fail")]
        rate[group] = judged.count("pass") / len(judged) if judged else None
    table = [(group, status, rate[group]) for group, status in made]
    kept = [row for row, why in zip(table, reasons(*table), strict=True) if why is None]
    assert all({s for g, s, _ in kept if g == group} in (set(), {"pass", "fail"}) for group in "abc")
    assert all((g in {k[0] for k in kept}) == (s is not None and 0 < s < 1) for g, s in rate.items())
    shuffled = random.sample(table, len(table))
    assert sorted(map(str, zip(shuffled, reasons(*shuffled), strict=True))) == sorted(
        map(str, zip(table, reasons(*table), strict=True))
    )
