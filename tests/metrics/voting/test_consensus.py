import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.config import parse
from ratoon.errors import ConfigError, DataError
from ratoon.metrics.stats.estimators import wilson
from ratoon.metrics.voting.consensus import ConsensusConfig, Labels, consensus

EASY = ConsensusConfig(n_min=1, share=0.5, margin=0.1)
Sample = tuple[str, str | None, str | None, str]  # group, answer, reading's status, finish reason


def told(samples: list[Any], config: ConsensusConfig = EASY, **more: Any) -> Labels:
    """Samples are an answer, or (answer, status, finish, confidence), all of group g unless a dict says otherwise."""
    rollouts, readings = [], []
    for i, sample in enumerate(samples):
        s = sample if isinstance(sample, dict) else {"answer": sample}
        g = s.get("group", "g")
        rollouts.append({"rollout_id": f"r{s.get('id', i):03d}", "group_id": g, "task_id": f"t-{g}", "prompt_id": f"p-{g}",
                         "policy_id": "m", "sampling_id": "s", "iteration": 1, "finish_reason": s.get("finish", "stop"),
                         "text": s.get("text", str(s["answer"]))})  # fmt: skip
        readings.append({"subject_kind": "rollout", "subject_id": rollouts[-1]["rollout_id"], "scorer": "reading",
                         "version": "numeric 1", "status": s.get("status", "abstain"), "answer": s["answer"]})  # fmt: skip
    table = schema.from_rows("rollouts", rollouts)
    table = table.append_column("confidence", pa.array([s.get("confidence") if isinstance(s, dict) else None for s in samples]))
    asked = [
        {"iteration": 1, "prompt_id": f"p-{g}", "sampling_id": "s", "n_planned": 16} for g in {r["group_id"] for r in rollouts}
    ]
    return consensus(table, schema.from_rows("scores", readings), schema.from_rows("assignments", asked), config, **more)


def one(samples: list[Any], config: ConsensusConfig = EASY, **more: Any) -> dict[str, Any]:
    (row,) = told(samples, config, **more).groups.to_pylist()
    return row


LATE, CUT = {"answer": None, "status": "error"}, {"answer": "7", "finish": "length"}


def test_an_accepted_vote_is_a_label_with_a_rate_and_its_interval() -> None:
    row = one(["7"] * 6 + ["8", None, CUT, LATE])
    assert (row["vote"], row["vote_status"], row["label_source"], row["scorer"]) == ("7", "accepted", "consensus", "consensus")
    assert (row["n"], row["n_planned"], row["n_valid"], row["n_passed"]) == (10, 16, 9, 6)
    assert (row["n_truncated"], row["n_unparsed"]) == (1, 1)
    assert (row["vote_share"], row["vote_margin"], row["pass_rate"]) == pytest.approx((6 / 9, 5 / 9, 6 / 9))
    assert (row["pass_lo"], row["pass_hi"]) == pytest.approx(wilson(6, 9))
    assert math.exp(row["entropy"]) == pytest.approx(7 / 6 * 6 ** (1 / 7)), "effective answers of 6 : 1"


@pytest.mark.parametrize(
    ("samples", "config", "status"),
    [
        ([None, CUT, LATE], EASY, "none"),
        ([LATE, LATE], EASY, "none"),
        (["7", "7", "8", "8"], EASY, "tie"),
        (["1", "2", "3"], EASY, "tie"),
        (["7"], ConsensusConfig(), "few"),
        (["7"], EASY, "accepted"),
        (["7"] * 4 + ["8"] * 3 + [None] * 2, EASY, "share"),
        (["7"] * 4 + [None] * 4, EASY, "accepted"),
        (["7"] * 4 + [None] * 5, EASY, "share"),
        (["7"] * 11 + ["8"] * 10, EASY, "margin"),
        (["7"] * 5 + ["8"] * 3, ConsensusConfig(n_min=1, wilson=True), "bound"),
        (["7"] * 8, ConsensusConfig(wilson=True), "accepted"),
    ],
)
def test_a_vote_is_refused_for_the_first_threshold_it_misses(samples: list[Any], config: ConsensusConfig, status: str) -> None:
    row = one(samples, config)
    assert row["vote_status"] == status
    known = [row[name] for name in ("pass_rate", "pass_lo", "pass_hi")]
    assert (None in known) == (status != "accepted"), "without a label there is no rate"
    assert (row["vote"] is None) == (status in ("none", "tie"))


def test_each_rollout_s_agreement_is_a_score() -> None:
    made = told(["7"] * 3 + ["8", None, CUT, LATE]).scores.to_pylist()
    assert [s["status"] for s in made] == ["pass"] * 3 + ["fail"] * 3 + ["error"]
    assert [s["detail"] for s in made[3:6]] == ["another vote", "unparsed: no answer", "length"]
    assert [s["value"] for s in made] == [1.0] * 3 + [0.0] * 3 + [None]
    assert {s["scorer"] for s in made} == {"consensus"}


def test_without_a_label_every_rollout_abstains_and_says_why() -> None:
    made = told(["7", "8", None, LATE]).scores.to_pylist()
    assert [(s["status"], s["detail"]) for s in made[:3]] == [("abstain", "tie")] * 3
    assert (made[3]["status"], made[0]["value"]) == ("error", None)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["7", "8", "1/2", None])), min_size=1, max_size=24),
       st.randoms(use_true_random=False))  # fmt: skip
def test_no_order_of_rows_changes_a_row(given: list[tuple[str, str | None]], random: Any) -> None:
    rows = [{"group": g, "answer": a, "id": i, "confidence": -0.1 * i} for i, (g, a) in enumerate(given)]
    for config in (EASY, EASY.model_copy(update={"weights": "softmax"})):
        here, there = told(rows, config), told(random.sample(rows, len(rows)), config)
        assert here.groups.equals(there.groups)
        assert here.scores.sort_by("subject_id").equals(there.scores.sort_by("subject_id"))


def test_a_group_whose_length_hung_on_its_answers_has_no_interval() -> None:
    row = one(["7"] * 9, stop_rule={"g": "curtail"})
    assert (row["stop_rule"], row["pass_rate"], row["pass_lo"], row["pass_hi"]) == ("curtail", 1.0, None, None)


def test_weighted_votes_need_every_confidence() -> None:
    sure = {"answer": "7", "confidence": -0.1}
    unsure = [{"answer": "8", "confidence": -3.0}] * 2
    by_probability = EASY.model_copy(update={"weights": "probability"})
    assert one([sure, *unsure])["vote"] == "8"
    assert one([sure, *unsure], by_probability)["vote"] == "7"
    assert one([sure, *unsure, "7"], by_probability)["vote_status"] == "unweighed"


def test_symbolic_equivalence_is_asked_only_where_keys_differ_and_are_no_numbers() -> None:
    asked: list[tuple[str, str]] = []

    def same(pairs: list[tuple[str, str]]) -> list[bool]:
        asked.extend(pairs)
        return [sorted(a) == sorted(b) for a, b in pairs]

    config = EASY.model_copy(update={"equivalence": "symbolic"})
    row = one(["x+y", "x+y", "y+x", "2", "3", "x"], config, same=same)
    assert (row["vote"], row["n_passed"], row["vote_status"]) == ("x+y", 3, "accepted")
    assert ("2", "3") not in asked
    assert ("x+y", "y+x") in asked
    assert one(["x+y", "x+y", "y+x", "2", "3", "x"])["vote_status"] == "share", "by keys alone the vote splits"


def test_a_class_hangs_on_its_most_frequent_key_whatever_else_is_near() -> None:
    """Near a tolerance equivalence is not transitive: a ~ b, b ~ c, not a ~ c; b is the most frequent and takes both."""
    near = {frozenset("ab"), frozenset("bc")}
    config = EASY.model_copy(update={"equivalence": "symbolic"})

    def same(pairs: list[tuple[str, str]]) -> list[bool]:
        return [frozenset(p) in near for p in pairs]

    assert one(["b", "b", "a", "c"], config, same=same)["n_passed"] == 4
    assert one(["a", "a", "b", "c"], config, same=same)["n_passed"] == 3


def test_readings_must_be_whole_and_of_one_version() -> None:
    rollouts = schema.from_rows("rollouts", [{"rollout_id": "r", "group_id": "g", "finish_reason": "stop"}])
    read = {"subject_kind": "rollout", "subject_id": "r", "status": "abstain", "answer": "1", "version": "1"}
    for rows in ([], [read, read]):
        with pytest.raises(DataError):
            consensus(rollouts, schema.from_rows("scores", rows), schema.empty("assignments"), EASY)


def test_waves_go_with_counted_votes_only() -> None:
    with pytest.raises(ConfigError, match="wave needs weights"):
        parse(ConsensusConfig, {"wave": 4, "weights": "rank"}, "here")
