from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import config, schema
from ratoon.errors import ConfigError, DataError
from ratoon.generators.splits import SplitConfig, assign_splits, leaks
from ratoon.generators.tasks import propose_all
from ratoon.generators.tasks.arithmetic import ArithmeticConfig

POOLS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 15), st.integers(0, 2)), min_size=1, max_size=60, unique=True)


def tasks(*rows):
    """(family, problem_key, split) per row; ids by number."""
    return schema.from_rows(
        "tasks",
        [{"task_id": f"t{i}", "family": f, "problem_key": k, "split": s} for i, (f, k, s) in enumerate(rows)],
    )


def family(name, n, split=None):
    return [(name, f"{name}{i}", split) for i in range(n)]


def counts(table):
    """(family, split) to the number of distinct problem keys."""
    return Counter((f, s) for f, s, _ in {tuple(r[c] for c in ("family", "split", "problem_key")) for r in table.to_pylist()})


def test_each_family_gives_exactly_what_is_asked():
    split = assign_splits(tasks(*family("a", 20), *family("b", 10)), SplitConfig(eval=3, probe=0.2), 0)
    assert counts(split) == {
        ("a", "eval"): 3, ("a", "probe"): 4, ("a", "train"): 13, ("b", "eval"): 3, ("b", "probe"): 2, ("b", "train"): 5,
    }  # fmt: skip
    assert split.schema == schema.TABLES["tasks"]


def test_the_same_problem_in_other_words_and_families_is_on_one_side():
    arms = [
        ArithmeticConfig(name="plain", operation="add", n=50),
        ArithmeticConfig(name="worded", operation="add", n=50, wordings=("Add {a} to {b}!",)),
    ]
    pool = [row for arm in arms for row in propose_all([arm], 0).tasks.to_pylist()]
    split = assign_splits(schema.from_rows("tasks", pool), SplitConfig(eval=10, probe=5), 0)
    assert leaks(split) == {}
    assert counts(split)["plain", "eval"] == counts(split)["worded", "eval"] == 10


@settings(max_examples=60, deadline=None)
@given(POOLS, st.integers(0, 9), st.floats(0, 0.4), st.floats(0, 0.3), st.randoms())
def test_no_key_is_on_two_sides_and_row_order_does_not_matter(pool, seed, eval, probe, rng):
    rows = [(f, f"k{k}", None) for f, k, _ in pool]
    table, settings = tasks(*rows), SplitConfig(eval=eval, probe=probe)
    try:
        split = assign_splits(table, settings, seed)
    except ConfigError:
        return
    assert leaks(split) == {}
    assert split["split"].null_count == 0
    shuffled = table.take(rng.sample(range(len(rows)), len(rows)))
    again = assign_splits(shuffled, settings, seed).sort_by("task_id")
    assert again["split"].to_pylist() == split.sort_by("task_id")["split"].to_pylist()


def test_leaks_are_found_with_their_sides():
    table = tasks(("a", "k1", "train"), ("b", "k1", "eval"), ("a", "k2", "probe"), ("a", "k3", None), ("a", "k3", "eval"))
    assert leaks(table) == {"k1": ("eval", "train"), "k3": ("eval", "train")}


def test_a_larger_eval_keeps_what_was_in_the_smaller_one():
    table = tasks(*family("a", 30))

    def eval_keys(n):
        split = assign_splits(table, SplitConfig(eval=n), 0)
        return {r["problem_key"] for r in split.to_pylist() if r["split"] == "eval"}

    assert eval_keys(5) < eval_keys(9)


def test_another_seed_holds_out_other_keys():
    table = tasks(*family("a", 100))
    split = [assign_splits(table, SplitConfig(eval=20), seed)["split"].to_pylist() for seed in (0, 1)]
    assert split[0] != split[1]


def test_sides_fixed_by_the_source_win_over_all_counts():
    table = tasks(*family("a", 4, "eval"), *family("b", 6), ("b", "a0", None), ("b", "b0", "train"))
    split = assign_splits(table, SplitConfig(eval=2), 0).to_pylist()
    side = {(r["family"], r["problem_key"]): r["split"] for r in split}
    assert side["b", "a0"] == "eval"
    assert side["b", "b0"] == "train"
    assert [side["a", f"a{i}"] for i in range(4)] == ["eval"] * 4
    assert sum(s == "eval" for (f, _), s in side.items() if f == "b") == 2


def test_a_key_its_source_put_on_two_sides_goes_to_the_more_protected_one():
    table = tasks(("a", "k", "train"), ("a", "k", "eval"), ("a", "l", "probe"), ("a", "l", "train"))
    assert assign_splits(table, SplitConfig(), 0)["split"].to_pylist() == ["eval", "eval", "probe", "probe"]


def test_an_impossible_size_is_refused_with_family_count_and_field():
    with pytest.raises(ConfigError, match=r"family 'b' has 5 problem keys, but eval takes 4 and probe 2\n.*splits.eval"):
        assign_splits(tasks(*family("a", 10), *family("b", 5)), SplitConfig(eval=4, probe=2), 0)


def test_a_family_whose_keys_are_taken_elsewhere_is_refused_too():
    shared = [("b", f"a{i}", None) for i in range(4)]
    table = tasks(*family("a", 4, "train"), *shared, ("b", "own", None))
    with pytest.raises(ConfigError, match=r"family 'b' lacks 1 problem keys for eval"):
        assign_splits(table, SplitConfig(eval=2), 0)


@pytest.mark.parametrize(
    ("tree", "message"), [({"eval": -1}, "neither a count"), ({"probe": 1.5}, "neither a count"), ({"evla": 1}, "'eval'")]
)
def test_a_bad_config_is_refused_by_field(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(SplitConfig, tree, "splits")


def test_unknown_splits_and_absent_keys_are_refused():
    with pytest.raises(DataError, match="split 'dev'"):
        assign_splits(tasks(("a", "k", "dev")), SplitConfig(), 0)
    with pytest.raises(DataError, match="1 tasks have no problem_key"):
        assign_splits(tasks(("a", None, None)), SplitConfig(), 0)


def test_no_tasks_stay_no_tasks():
    assert assign_splits(tasks(), SplitConfig(eval=0.1), 0).num_rows == 0
