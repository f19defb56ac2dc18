from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.errors import ConfigError
from ratoon.generators.assign import choose


def pool(split="train", **sizes):
    rows = [
        {"task_id": f"{family}-{i}", "family": family, "problem_key": f"{family}{i}", "split": split}
        for family, size in sizes.items()
        for i in range(size)
    ]
    return schema.from_rows("tasks", rows)


def picked(*args, **kwargs):
    return choose(*args, **kwargs)["task_id"].to_pylist()


def shares(ids):
    return dict(Counter(task.split("-")[0] for task in ids))


def test_families_share_a_round_evenly():
    assert shares(picked(pool(a=50, b=10, c=30), 1, 12, 0)) == {"a": 4, "b": 4, "c": 4}


def test_weights_are_relative_and_zero_leaves_a_family_out():
    assert shares(picked(pool(a=50, b=50, c=50), 1, 12, 0, weights={"a": 3.0, "c": 0})) == {"a": 9, "b": 3}


def test_what_a_small_family_cannot_fill_the_others_take_over():
    assert shares(picked(pool(a=2, b=50, c=50), 1, 12, 0)) == {"a": 2, "b": 5, "c": 5}


def test_the_same_round_is_the_same_and_the_next_another():
    tasks = pool(a=100)
    assert picked(tasks, 1, 10, 0) == picked(tasks, 1, 10, 0)
    assert picked(tasks, 1, 10, 0) != picked(tasks, 2, 10, 0)
    assert picked(tasks, 1, 10, 0) != picked(tasks, 1, 10, 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 99), st.randoms())
def test_no_task_comes_again_before_the_pool_is_used_up(size, per_round, seed, rng):
    tasks, history = pool(a=size), []
    for iteration in range(1, 6):
        shuffled = tasks.take(rng.sample(range(size), size))
        chosen = picked(shuffled, iteration, per_round, seed, history)
        assert chosen == picked(tasks, iteration, per_round, seed, history)
        assert len(chosen) == len(set(chosen)) == min(per_round, size)
        history += chosen
        asked = Counter(history)
        assert max(asked.values()) - min(asked[t] for t in tasks["task_id"].to_pylist()) <= 1


def test_only_training_tasks_are_asked_and_whole_rows_come_back_in_id_order():
    import pyarrow as pa

    tasks = pa.concat_tables([pool("eval", a=5), pool("train", b=3)])
    rows = choose(tasks, 1, 10, 0)
    assert rows["task_id"].to_pylist() == ["b-0", "b-1", "b-2"]
    assert rows.schema == schema.TABLES["tasks"]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"x": 1.0}, "'x', which has no training task"),
        ({"a": -1.0}, "weight of family 'a' is -1.0"),
        ({"a": 0}, "no training task is left"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        choose(pool(a=3), 1, 1, 0, weights=weights)


def test_an_empty_pool_is_refused():
    with pytest.raises(ConfigError, match="no training task"):
        choose(pool("eval", a=3), 1, 1, 0)
