"""The random control: how many, which, and that nothing but ids decides."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.filters import random_n
from ratoon.filters.random_n import RandomNConfig


def rows(n: int, iteration: int = 1) -> pa.Table:
    return pa.table({"rollout_id": [f"r_{i:04d}" for i in range(n)], "iteration": [iteration] * n})


def kept(table: pa.Table, config: RandomNConfig) -> set[str]:
    verdicts = random_n.keep(table, config)
    return set(table.filter(pa.array(verdicts.keep))["rollout_id"].to_pylist())


@given(size=st.integers(0, 40), n=st.integers(0, 50))
def test_it_keeps_n_or_all_there_are_and_names_the_reason_of_the_rest(size: int, n: int) -> None:
    verdicts = random_n.keep(rows(size), RandomNConfig(n=n))
    assert int(verdicts.keep.sum()) == min(n, size)
    assert verdicts.reason.to_pylist() == [None if keep else "random" for keep in verdicts.keep]


def test_row_order_does_not_decide() -> None:
    table, config = rows(30), RandomNConfig(n=7)
    assert kept(table, config) == kept(table.take(list(reversed(range(30)))), config)


def test_a_larger_n_keeps_all_that_a_smaller_one_kept() -> None:
    assert kept(rows(30), RandomNConfig(n=5)) < kept(rows(30), RandomNConfig(n=9))


def test_another_seed_is_another_choice() -> None:
    assert kept(rows(200), RandomNConfig(n=100)) != kept(rows(200), RandomNConfig(n=100, seed=1))


@pytest.mark.parametrize(("iteration", "expected"), [(1, 2), (2, 5), (3, 5)])
def test_a_number_per_round_holds_for_its_round_and_the_last_for_all_after(iteration: int, expected: int) -> None:
    assert len(kept(rows(20, iteration), RandomNConfig(n=(2, 5)))) == expected
