import math
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import wilson
from ratoon.metrics.voting.groups import groups


def tables(samples: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """Rollouts and scores of samples: group, status (None: unscored), answer, detail, finish."""
    rollouts, scores = [], []
    for i, s in enumerate(samples):
        g = s.get("group", "g")
        rollouts.append(
            {"rollout_id": f"r{i}", "group_id": g, "task_id": f"t-{g}", "prompt_id": f"p-{g}", "policy_id": "m",
             "sampling_id": "s", "role": "solver", "iteration": s.get("iteration", 1), "sample": i,
             "finish_reason": s.get("finish", "stop")}
        )  # fmt: skip
        if s.get("status", "pass") is not None:
            scores.append(
                {"subject_kind": "rollout", "subject_id": f"r{i}", "scorer": "numeric", "version": "1", "repeat": 0,
                 "status": s.get("status", "pass"), "answer": s.get("answer"), "detail": s.get("detail")}
            )  # fmt: skip
    return schema.from_rows("rollouts", rollouts), schema.from_rows("scores", scores)


def assigned(*rows: tuple[int, str, int]) -> pa.Table:
    return schema.from_rows(
        "assignments",
        [{"iteration": i, "task_id": f"t-{g}", "prompt_id": f"p-{g}", "sampling_id": "s", "n_planned": n} for i, g, n in rows],
    )


def one(samples: list[dict[str, Any]]) -> dict[str, Any]:
    made = groups(*tables(samples), assigned((1, "g", 8)))
    assert made.num_rows == 1
    return made.to_pylist()[0]


def test_only_abstain_and_error_leave_the_denominator() -> None:
    row = one(
        [{"status": s} for s in ("pass", "pass", "fail", "abstain", "error")]
        + [{"status": "fail", "detail": "length", "finish": "length"}, {"status": "fail", "detail": "empty"}]
        + [{"status": "fail", "detail": "unparsed: no number"}]
    )
    assert (row["n_planned"], row["n"], row["n_valid"], row["n_passed"], row["n_truncated"], row["n_unparsed"]) == (
        8,
        8,
        6,
        2,
        1,
        2,
    )
    assert row["pass_rate"] == pytest.approx(2 / 6)
    assert (row["pass_lo"], row["pass_hi"]) == pytest.approx(wilson(2, 6))
    assert row["label_source"] == "verifier"


def test_a_label_is_the_word_of_whom_its_scorer_speaks_for() -> None:
    rollouts, scores = tables([{"status": "pass"}])
    (scorer,) = scores["scorer"].unique().to_pylist()
    made = groups(rollouts, scores, assigned((1, "g", 1)), label_sources={scorer: "judge", "another": "consensus"})
    assert made["label_source"].to_pylist() == ["judge"]


def test_a_group_nobody_could_judge_has_no_rate() -> None:
    row = one([{"status": "error"}, {"status": "abstain", "answer": "7"}])
    assert (row["n_valid"], row["pass_rate"], row["pass_lo"], row["pass_hi"]) == (0, None, None, None)
    assert row["vote"] == "7"  # without a gold there is still agreement


def test_the_vote_is_the_plurality_and_silence_is_no_agreement() -> None:
    row = one([{"answer": a} for a in ("7", "7", "7", "8", None)] + [{"status": "error"}])
    assert (row["vote"], row["vote_status"]) == ("7", "plurality")
    assert (row["vote_share"], row["vote_margin"]) == pytest.approx((3 / 5, 2 / 5))
    assert row["entropy"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_a_tie_abstains() -> None:
    row = one([{"answer": a} for a in ("7", "8", "8", "7")])
    assert (row["vote"], row["vote_status"], row["vote_share"], row["vote_margin"]) == (None, "tie", 0.5, 0.0)


def test_no_answers_are_no_vote() -> None:
    row = one([{"answer": None, "status": "fail"}] * 2)
    assert (row["vote"], row["vote_status"], row["vote_share"], row["entropy"]) == (None, "none", None, None)


def test_what_stood_in_a_cut_reply_is_no_vote() -> None:
    row = one([{"answer": "8", "status": "fail", "finish": "length"}] * 3 + [{"answer": "7"}])
    assert (row["vote"], row["vote_share"]) == ("7", 0.25)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "group": st.sampled_from(["a", "b", "c", "d"]),
                "status": st.sampled_from(["pass", "fail", "abstain", "error", None]),
                "answer": st.sampled_from([None, "7", "8", "9"]),
                "finish": st.sampled_from(["stop", "length"]),
            }
        ),
        min_size=1,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_no_rollout_is_lost_and_no_order_changes_a_group(samples: list[dict[str, Any]], shuffle: random.Random) -> None:
    rollouts, scores = tables(samples)
    made = groups(rollouts, scores, assigned())
    assert sum(made["n"].to_pylist()) == len(samples)
    assert sum(made["n_passed"].to_pylist()) == sum(s["status"] == "pass" for s in samples)
    order = list(range(len(samples)))
    shuffle.shuffle(order)
    scored = list(range(scores.num_rows))
    shuffle.shuffle(scored)
    assert groups(rollouts.take(order), scores.take(pa.array(scored, pa.int64())), assigned()).equals(made)


def test_a_group_sampled_twice_adds_its_plans_and_belongs_to_the_latest_round() -> None:
    made = groups(*tables([{"iteration": 1}, {"iteration": 2}]), assigned((1, "g", 4), (2, "g", 4), (3, "g", 4), (1, "h", 9)))
    assert (made["n_planned"].to_pylist(), made["iteration"].to_pylist()) == ([8], [2])


def test_unscored_rollouts_are_counted_and_have_no_label() -> None:
    row = one([{"status": None}, {"status": None}])
    assert (row["n"], row["n_valid"], row["scorer"], row["label_source"], row["vote_status"]) == (2, 0, None, None, "none")


def test_two_scores_of_one_rollout_are_refused() -> None:
    rollouts, scores = tables([{}])
    with pytest.raises(DataError, match="more than one score"):
        groups(rollouts, pa.concat_tables([scores, scores]), assigned())


def test_nothing_gives_no_groups() -> None:
    made = groups(schema.empty("rollouts"), schema.empty("scores"), schema.empty("assignments"))
    assert made.equals(schema.empty("groups"))
