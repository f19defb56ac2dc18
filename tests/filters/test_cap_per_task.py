import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.filters import cap_per_task
from ratoon.filters.cap_per_task import CapPerTaskConfig

TEXTS = st.lists(
    st.tuples(
        st.sampled_from(["3+4=7", "4 + 3 = 7", "7", "so it is 7", "3+3+1=7", "2+5=7, yes", "10-3=7", "no numbers", None]),
        st.sampled_from([0.5, 1.0, None]),
        st.integers(1, 9),
        st.sampled_from(["t1", "t2"]),
    ),
    max_size=14,
)


def rows(*made):
    """(rollout_id, text, value, n_tokens, task_id)"""
    columns = list(zip(*made, strict=True)) or [()] * 5
    return pa.table(
        {
            "rollout_id": pa.array(columns[0], pa.string()),
            "text": pa.array(columns[1], pa.string()),
            "value": pa.array(columns[2], pa.float64()),
            "n_tokens": pa.array(columns[3], pa.int32()),
            "task_id": pa.array(columns[4], pa.string()),
            "prompt_id": pa.array(columns[4], pa.string()),
            "problem_key": pa.array(columns[4], pa.string()),
        }
    )


def reasons(verdicts, made):
    return {row[0]: reason for row, reason in zip(made, verdicts.reason.to_pylist(), strict=True)}


def test_one_rollout_of_each_reasoning_stays_and_is_the_evidence():
    made = [("r1", "3 + 4 = 7", 1.0, 9, "t"), ("r2", "4+3=7", 1.0, 5, "t"), ("r3", "10-3=7", 1.0, 7, "t")]
    verdicts = cap_per_task.keep(rows(*made), CapPerTaskConfig(k=3))
    assert reasons(verdicts, made) == {"r1": "duplicate:key", "r2": None, "r3": None}
    assert verdicts.evidence_id.to_pylist() == ["r2", None, None]


def test_the_farthest_stays_when_the_cap_bites():
    made = [
        ("r1", "1+1=2", 1.0, 3, "t"),
        ("r2", "1+1=2, 2+2=4", 1.0, 4, "t"),
        ("r3", "1+1=2 and then, by quite another way, 9-7=2", 1.0, 9, "t"),
    ]
    verdicts = cap_per_task.keep(rows(*made), CapPerTaskConfig(k=2))
    assert reasons(verdicts, made) == {"r1": None, "r2": "cap", "r3": None}
    assert verdicts.threshold.to_pylist() == [None, 2, None]


def test_distances_are_summed_over_all_that_are_chosen():
    # From "aaaa" alone the last two are equally far (4); added to the distance from "bbbb", "cccc" wins over "bbbc".
    made = [(f"r{i}", text, 1.0, i, "t") for i, text in enumerate(["aaaa", "bbbb", "bbbc", "cccc"])]
    verdicts = cap_per_task.keep(rows(*made), CapPerTaskConfig(k=3, key="text"))
    assert reasons(verdicts, made) == {"r0": None, "r1": None, "r2": "cap", "r3": None}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("r9", "aaa", 1.0, 9, "t"), ("r1", "bbb", 0.5, 1, "t")),
        (("r9", "aaa", 1.0, 1, "t"), ("r1", "bbb", 1.0, 2, "t")),
        (("r1", "aaa", 1.0, 1, "t"), ("r9", "bbb", 1.0, 1, "t")),
        (("r9", "aaa", 0.0, 9, "t"), ("r1", "bbb", None, 1, "t")),
    ],
    ids=["score", "then length", "then id", "unknown score last"],
)
def test_the_first_is_the_best_by_score_then_length_then_id(a, b):
    verdicts = cap_per_task.keep(rows(b, a), CapPerTaskConfig(k=1))
    assert verdicts.keep.tolist() == [False, True]


def test_a_lower_score_is_not_chosen_for_being_far():
    made = [("r1", "aa", 1.0, 1, "t"), ("r2", "ab", 1.0, 1, "t"), ("r3", "something far away", 0.5, 1, "t")]
    assert reasons(cap_per_task.keep(rows(*made), CapPerTaskConfig(k=2)), made) == {"r1": None, "r2": None, "r3": "cap"}


def test_tasks_do_not_touch_each_other():
    made = [("r1", "7", 1.0, 1, "t1"), ("r2", "7", 1.0, 1, "t2")]
    assert cap_per_task.keep(rows(*made), CapPerTaskConfig(k=1)).keep.all()


def test_by_text_equal_equations_in_other_words_both_stay():
    made = [("r1", "3+4=7", 1.0, 1, "t"), ("r2", "we know 3+4=7", 1.0, 1, "t")]
    assert cap_per_task.keep(rows(*made), CapPerTaskConfig(k=2, key="text")).keep.all()


def test_no_rows_give_no_verdicts():
    assert len(cap_per_task.keep(rows(), CapPerTaskConfig()).keep) == 0


@settings(deadline=None)
@given(TEXTS, st.integers(1, 4), st.randoms())
def test_the_choice_is_capped_distinct_idempotent_and_free_of_row_order(made, k, rng):
    made = [(f"r{i:02d}", *row) for i, row in enumerate(made)]
    config = CapPerTaskConfig(k=k)

    def kept(triples):
        keep = cap_per_task.keep(rows(*triples), config).keep
        return [t for t, stays in zip(triples, keep, strict=True) if stays]

    once = kept(made)
    assert {t[0] for t in kept(rng.sample(made, len(made)))} == {t[0] for t in once}
    assert kept(once) == once
    for task in ("t1", "t2"):
        keys = [cap_per_task.reasoning_key(t[1] or "") for t in once if t[4] == task]
        assert len(keys) == len(set(keys)) <= k
        assert bool(keys) == any(t[4] == task for t in made)
