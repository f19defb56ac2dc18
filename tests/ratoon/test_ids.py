"""Ids name content: equal content, equal id; a change anywhere, another id."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon import ids

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
ASK = [{"role": "user", "content": "2 + 2?"}]


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_does_not_matter(tree: dict[str, object]) -> None:
    assert ids.digest(dict(reversed(tree.items()))) == ids.digest(tree)


def test_nan_has_no_canonical_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        ids.canonical_json(float("nan"))


def test_an_id_says_its_kind_in_front() -> None:
    assert re.fullmatch(r"t_[0-9a-f]{24}", ids.task_id(ASK, "4", "numeric", {}))
    assert re.fullmatch(r"r_[0-9a-f]{24}", ids.rollout_id("p", "m", "s", 0))
    assert re.fullmatch(r"a_[0-9a-f]{24}", ids.content_id("artifact", {"stage": "x"}))
    assert len(set(ids.KINDS.values())) == len(ids.KINDS)


def test_every_part_of_a_task_is_in_its_id() -> None:
    other = [{"role": "user", "content": "2 + 3?"}]
    made = {
        ids.task_id(ASK, "4", "numeric", {}), ids.task_id(other, "4", "numeric", {}), ids.task_id(ASK, "5", "numeric", {}),
        ids.task_id(ASK, None, "numeric", {}), ids.task_id(ASK, "4", "exact", {}), ids.task_id(ASK, "4", "numeric", {"a": 1}),
    }  # fmt: skip
    assert len(made) == 6


def test_coordinates_cannot_trade_characters() -> None:
    assert ids.group_id("p1", "m", "s") != ids.group_id("p", "1m", "s")
    assert ids.prompt_id("t", "r", "d", [1, 23]) != ids.prompt_id("t", "r", "d", [12, 3])


@given(st.integers(0, 2**31), st.text(max_size=8), st.integers(0, 10_000))
def test_a_seed_fits_63_bits_and_depends_on_all_it_is_made_of(seed: int, stage: str, item: int) -> None:
    made = ids.derive_seed(seed, stage, item)
    assert 0 <= made < 2**63
    assert made == ids.derive_seed(seed, stage, item)
    assert len({made, ids.derive_seed(seed + 1, stage, item), ids.derive_seed(seed, stage, item + 1)}) == 3


def test_ids_do_not_change_between_releases() -> None:
    """A run written last year must still match: these values are frozen."""
    assert ids.digest({"b": [1, None], "a": "é"}) == "d76dff578d92e51130e57f3ca4fabb6c"
    assert ids.rollout_id("p", "m", "s", 3) == "r_0566e666887f57fc971ca965"
    assert ids.derive_seed(7, "engine", "x") == 8202323796806075789
