"""Kept rollouts of a group count as often as those they stand for were sampled."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.sft.data.group_weights import group_weights


def table(right: list[bool], kept: list[bool]) -> pa.Table:
    """The kept ones of one group."""
    whole = {"group_id": "g", "n_valid": len(right), "n_passed": sum(right)}
    rows = [
        whole | {"rollout_id": f"r{i}", "status": "pass" if good else "fail"}
        for i, (good, stays) in enumerate(zip(right, kept, strict=True))
        if stays
    ]
    kinds = [("rollout_id", pa.string()), ("group_id", pa.string()), ("status", pa.string()), ("n_valid", pa.int32()),
             ("n_passed", pa.int32())]  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def test_three_right_of_which_one_is_kept_weigh_three_and_a_whole_side_weighs_one() -> None:
    found = group_weights(table([True, True, True, False, False], [True, False, False, True, True]))
    assert found == {"r0": 3.0, "r3": 1.0, "r4": 1.0}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=20))
def test_the_on_policy_gradient_weights_of_what_is_kept_sum_to_zero_in_every_mixed_group(rows: list[tuple[bool, bool]]) -> None:
    right, kept = [r for r, _ in rows], [k for _, k in rows]
    stays = {good for good, stay in rows if stay}
    if stays != {True, False}:
        return
    rate, found = sum(right) / len(right), group_weights(table(right, kept))
    assert sum(
        found[f"r{i}"] * (1.0 if right[i] else -rate / (1 - rate)) for i in range(len(rows)) if kept[i]
    ) == pytest.approx(0)
    assert sum(found.values()) == pytest.approx(len(right))


def test_a_rollout_of_no_verdict_and_a_group_larger_than_it_was_are_refused() -> None:
    whole = table([True, False], [True, True])
    with pytest.raises(DataError, match="neither right nor wrong"):
        group_weights(whole.set_column(2, "status", pa.array(["pass", "abstain"])))
    with pytest.raises(DataError, match="had 1 rollouts of status pass, 2 are kept"):
        group_weights(pa.concat_tables([whole, whole.slice(0, 1)]))
