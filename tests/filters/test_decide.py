import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.errors import ConfigError, DataError
from ratoon.filters import FILTERS
from ratoon.filters.cap_per_task import CapPerTaskConfig
from ratoon.filters.decide import decide, survivors, versions
from ratoon.filters.entry import EntryConfig
from ratoon.filters.exact_dedup import ExactDedupConfig
from ratoon.filters.finish_reason import FinishReasonConfig
from ratoon.filters.length import LengthConfig
from ratoon.filters.pass_rate import PassRateConfig
from ratoon.filters.verified import VerifiedConfig

ALL = [
    ("finish_reason", FinishReasonConfig()),
    ("length", LengthConfig(max_tokens=8)),
    ("verified", VerifiedConfig(label_source="verifier")),
    ("pass_rate", PassRateConfig(lo=0.1, hi=0.9)),
    ("exact_dedup", ExactDedupConfig()),
    ("cap_per_task", CapPerTaskConfig(k=2)),
]
KINDS = {
    "rollout_id": pa.string(), "task_id": pa.string(), "prompt_id": pa.string(), "problem_key": pa.string(),
    "text": pa.string(), "n_tokens": pa.int32(), "finish_reason": pa.string(), "status": pa.string(),
    "label_source": pa.string(), "value": pa.float64(), "pass_rate": pa.float64(), "pass_lo": pa.float64(),
    "pass_hi": pa.float64(),
}  # fmt: skip
GOOD = {
    "task_id": "t1", "prompt_id": "p1", "problem_key": "k1", "text": "7", "n_tokens": 3, "finish_reason": "stop",
    "status": "pass", "label_source": "verifier", "value": 1.0, "pass_rate": 0.5, "pass_lo": 0.2, "pass_hi": 0.8,
}  # fmt: skip


def candidates(*changes):
    made = [GOOD | {"rollout_id": f"r{i:02d}"} | change for i, change in enumerate(changes)]
    return pa.table({name: pa.array([row[name] for row in made], kind) for name, kind in KINDS.items()})


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.sampled_from(["7", " 7", "3+4=7", "4+3=7", "ten minus three", None]),
            "n_tokens": st.sampled_from([1, 3, 20, None]),
            "finish_reason": st.sampled_from(["stop", "stop", "length", None]),
            "status": st.sampled_from(["pass", "pass", "fail", "abstain", None]),
            "pass_rate": st.sampled_from([0.0, 0.5, None]),
            "task_id": st.sampled_from(["t1", "t2"]),
        }
    ),
    max_size=12,
)


def test_a_row_is_judged_by_every_step_it_reaches_and_no_other():
    rows = candidates({}, {"finish_reason": "length"}, {"status": "fail"}, {"text": "eleven"})
    decisions = decide(rows, ALL[:3], "c_1")
    assert decisions.schema == schema.TABLES["decisions"]
    told = [(r["step"], r["subject_id"], r["filter"], r["keep"], r["reason"]) for r in decisions.to_pylist()]
    assert told == [
        (0, "r00", "finish_reason", True, None),
        (0, "r01", "finish_reason", False, "finish_reason:length"),
        (0, "r02", "finish_reason", True, None),
        (0, "r03", "finish_reason", True, None),
        (1, "r00", "length", True, None),
        (1, "r02", "length", True, None),
        (1, "r03", "length", True, None),
        (2, "r00", "verified", True, None),
        (2, "r02", "verified", False, "unverified:fail"),
        (2, "r03", "verified", True, None),
    ]


def test_the_six_filters_in_a_row_each_give_their_reason():
    rows = candidates(
        {}, {"finish_reason": "length"}, {"n_tokens": 9}, {"status": "fail"}, {"pass_rate": 1.0}, {},
        {"text": "It is 7"}, {"text": "3+4=7"}, {"text": "10-3=7"},
    )  # fmt: skip
    dropped = {r["subject_id"]: r["reason"] for r in decide(rows, ALL, "c").to_pylist() if not r["keep"]}
    assert dropped == {
        "r01": "finish_reason:length", "r02": "length:max_tokens", "r03": "unverified:fail", "r04": "pass_rate:high",
        "r05": "duplicate", "r06": "duplicate:key", "r07": "cap",
    }  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(ROWS, st.randoms())
def test_kept_and_dropped_are_the_input_whatever_its_order_and_deciding_again_keeps_all(made, rng):
    rows = candidates(*made)
    decisions = decide(rows, ALL, "c")
    kept = survivors(rows, decisions)
    dropped = [r["subject_id"] for r in decisions.to_pylist() if not r["keep"]]
    assert sorted(dropped + kept["rollout_id"].to_pylist()) == sorted(rows["rollout_id"].to_pylist())
    shuffled = rows.take(rng.sample(range(len(made)), len(made))) if made else rows
    assert decide(shuffled, ALL, "c").equals(decisions)
    assert decide(kept, ALL, "c")["keep"].to_pylist() == [True] * (kept.num_rows * len(ALL))


def test_no_candidates_and_no_steps_give_an_empty_table():
    assert decide(candidates(), ALL, "c").num_rows == 0
    assert decide(candidates({}), [], "c").equals(schema.empty("decisions"))
    assert survivors(candidates({}), schema.empty("decisions")).num_rows == 1


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match=r"'verified' needs column.*status"):
        decide(candidates({}).drop_columns("status"), ALL, "c")


def test_a_rollout_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="twice"):
        decide(candidates({"rollout_id": "r1"}, {"rollout_id": "r1"}), ALL, "c")


def test_an_unknown_filter_is_refused_with_the_list():
    with pytest.raises(ConfigError, match="finish_reason, lint, length"):
        decide(candidates({}), [("lenght", LengthConfig(max_tokens=1))], "c")


def no_sevens(rows, config):
    return [f"seven:{config['why']}" if text == "7" else None for text in rows["text"].to_pylist()]


def test_a_filter_passed_in_python_drops_with_its_own_reason_and_version():
    steps = [("entry", EntryConfig(entry="no_sevens", config={"why": "unlucky"}))]
    decisions = decide(candidates({}, {"text": "8"}), steps, "c", {"no_sevens": no_sevens}).to_pylist()
    assert [(r["filter"], r["reason"]) for r in decisions] == [("no_sevens", "seven:unlucky"), ("no_sevens", None)]
    assert decisions[0]["version"].startswith("u")
    assert versions(steps, {"no_sevens": no_sevens}) == {"0.no_sevens": decisions[0]["version"]}


@pytest.mark.parametrize(
    ("answer", "message"), [([], "0 answers for 1 rows"), ([True], "answered True"), ([""], "answered ''")]
)
def test_a_filter_of_ones_own_must_answer_once_per_row_with_a_reason_or_null(answer, message):
    with pytest.raises(DataError, match=message):
        decide(candidates({}), [("entry", EntryConfig(entry="mine"))], "c", {"mine": lambda rows, config: answer})


def test_a_filter_nobody_declares_is_refused():
    with pytest.raises(ConfigError, match=r"no entry point 'mine' in group 'ratoon.filters'"):
        decide(candidates({}), [("entry", EntryConfig(entry="mine"))], "c")


def test_a_recipe_names_every_filter_as_its_catalogue_does():
    assert [entry.config.model_fields["kind"].default for entry in FILTERS.values()] == list(FILTERS)
