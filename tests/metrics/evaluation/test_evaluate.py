from typing import Any

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.evaluation.evaluate import evaluate, pooled
from ratoon.metrics.evaluation.outcomes import outcomes
from ratoon.metrics.stats.estimators import wilson

N, K = 60, 4


def planted(policy: str, right: Any, finished: Any = lambda t, s: True, status: Any = None) -> tuple[pa.Table, pa.Table]:
    """Rollouts and scores of N tasks x K samples, as the functions of (task, sample) say."""
    rollouts, scores = [], []
    for t in range(N):
        for s in range(K):
            id, done = f"{policy}-{t}-{s}", finished(t, s)
            ok = done and right(t, s)
            verdict = (status and status(t, s)) or ("pass" if ok else "fail")
            rollouts.append(
                {
                    "rollout_id": id,
                    "task_id": f"t{t}",
                    "policy_id": policy,
                    "sampling_id": "s",
                    "finish_reason": "stop" if done else "length",
                }
            )
            scores.append(
                {"subject_kind": "rollout", "subject_id": id, "scorer": "numeric", "status": verdict,
                 "answer": "1" if ok else "2", "detail": None if ok else "length" if not done else "wrong"}
            )  # fmt: skip
    return schema.from_rows("rollouts", rollouts), schema.from_rows("scores", scores)


TASKS = schema.from_rows(
    "tasks", [{"task_id": f"t{t}", "problem_key": f"k{t}", "family": "even" if t % 2 == 0 else "odd"} for t in range(N)]
)


def rates(policy: str, data: tuple[pa.Table, pa.Table], **more: Any) -> dict[str, dict[str, Any]]:
    made = evaluate(*data, TASKS, policy_id=policy, iteration=1, suite="heldout", sampling_id="s", draws=500, **more)
    assert made.schema == schema.TABLES["evals"]
    return {row["metric"]: row for row in made.to_pylist()}


def test_planted_rates_come_back_with_their_counts() -> None:
    found = rates("m", planted("m", lambda t, s: s == 0 or (t % 2 == 0 and s == 1)))
    assert found["pass@1"]["value"] == pytest.approx(0.375)
    assert (found["pass@1"]["n_tasks"], found["pass@1"]["n_samples"]) == (N, N * K)
    assert found["pass@1"]["lo"] < 0.375 < found["pass@1"]["hi"]
    assert (found["pass@1/even"]["value"], found["pass@1/odd"]["value"]) == (0.5, 0.25)
    assert found["pass@4"]["value"] == 1.0
    assert found["pass@2"]["value"] == pytest.approx((1 - 1 / 6 + 1 - 3 / 6) / 2)
    assert found["maj@4"]["value"] == pytest.approx(0.25)  # a tie of two on even tasks, a minority on odd ones
    assert "void" not in found
    assert {row["suite"] for row in found.values()} == {"heldout"}


def test_a_reply_cut_by_length_is_a_failure_with_the_rate_among_finished_beside_it() -> None:
    found = rates("m", planted("m", lambda t, s: s < 2, finished=lambda t, s: s < 3))
    assert found["pass@1"]["value"] == pytest.approx(0.5)
    assert found["finished_share"]["value"] == pytest.approx(0.75)
    assert found["pass@1_finished"]["value"] == pytest.approx(2 / 3)


def test_a_paired_gain_is_found_and_taken_apart() -> None:
    before = planted("base", lambda t, s: s < 1, finished=lambda t, s: s < 2)  # .25 = .5 × .5
    after = planted("m", lambda t, s: s < 3)  # .75 = 1 × .75
    base = outcomes(*before, TASKS, policy_id="base", sampling_id="s")
    found = rates("m", after, against={"base": base})
    assert found["pass@1_diff"]["against_policy_id"] == "base"
    assert found["pass@1_diff"]["value"] == pytest.approx(0.5)
    assert found["gain_finishing"]["value"] == pytest.approx(0.5 * 0.625)
    assert found["gain_accuracy"]["value"] == pytest.approx(0.25 * 0.75)
    assert found["pass@1"]["against_policy_id"] is None


def test_the_comparison_takes_only_tasks_that_both_were_asked() -> None:
    before = planted("base", lambda t, s: True)
    half = {t: o for t, o in outcomes(*before, TASKS, policy_id="base").items() if int(t[1:]) < 20}
    found = rates("m", planted("m", lambda t, s: t >= 20), against={"base": half})
    assert (found["pass@1_diff"]["value"], found["pass@1_diff"]["n_tasks"]) == (-1.0, 20)


def test_abstain_and_error_leave_the_denominator_and_are_shown() -> None:
    bad = {(0, 0): "error", (1, 0): "abstain"}
    found = rates("m", planted("m", lambda t, s: True, status=lambda t, s: bad.get((t, s))))
    assert found["pass@1"]["value"] == 1.0
    assert found["pass@1"]["n_samples"] == N * K - 2
    assert (found["error_share"]["value"], found["abstain_share"]["value"]) == (1 / 240, 1 / 240)
    assert found["pass@4"]["n_tasks"] == N - 2


def test_too_many_unjudged_samples_void_the_evaluation() -> None:
    found = rates("m", planted("m", lambda t, s: True, status=lambda t, s: "error" if t < 2 else None))
    assert found["void"]["value"] == pytest.approx(8 / 240)
    assert found["error_share"]["value"] == pytest.approx(8 / 240)
    assert {row["value"] for m, row in found.items() if m not in ("void", "error_share", "abstain_share")} == {None}


def test_a_comparison_is_null_where_the_other_side_is_void() -> None:
    before = planted("base", lambda t, s: False, status=lambda t, s: "error" if t < 2 else None)
    base = outcomes(*before, TASKS, policy_id="base", sampling_id="s")
    found = rates("m", planted("m", lambda t, s: s < 2), against={"base": base})
    for metric in ("pass@1_diff", "gain_finishing", "gain_accuracy"):
        row = found[metric]
        assert (row["value"], row["lo"], row["hi"]) == (None, None, None)
        assert row["n_tasks"] == N - 2
    assert found["pass@1"]["value"] == 0.5
    assert "void" not in found, "this side was judged"
    assert rates("m", planted("m", lambda t, s: s < 2), against={"base": base}, max_unjudged=0.1)["pass@1_diff"]["value"] == 0.5


def test_samples_of_the_other_side_that_never_became_rollouts_void_the_comparison() -> None:
    base = outcomes(*planted("base", lambda t, s: False), TASKS, policy_id="base", sampling_id="s")
    mine = planted("m", lambda t, s: True)
    assert rates("m", mine, against={"base": base})["pass@1_diff"]["value"] == 1.0
    assert rates("m", mine, against={"base": base}, planned_against={"base": 2 * N * K})["pass@1_diff"]["value"] is None


def test_a_rate_on_which_every_task_agrees_has_wilsons_interval_over_the_problems() -> None:
    none = rates("m", planted("m", lambda t, s: False))["pass@1"]
    assert (none["value"], none["lo"], none["hi"]) == (0.0, 0.0, pytest.approx(wilson(0, N)[1]))
    found = rates("m", planted("m", lambda t, s: True, finished=lambda t, s: t < 20))
    assert found["pass@1_finished"]["lo"] == pytest.approx(wilson(20, 20)[0]), "tasks without a finished reply say nothing"
    assert found["pass@1/even"]["lo"] < found["pass@1/even"]["value"] < found["pass@1/even"]["hi"]


def test_samples_that_never_became_rollouts_count_as_errors() -> None:
    data = planted("m", lambda t, s: True)
    assert rates("m", data, planned=N * K + 2)["error_share"]["value"] == pytest.approx(2 / 242)
    assert rates("m", data, planned=N * K * 2)["void"]["value"] == 0.5


def test_an_evaluation_nobody_could_judge_is_void_and_does_not_crash() -> None:
    found = rates("m", planted("m", lambda t, s: True, status=lambda t, s: "error"))
    assert (found["void"]["value"], found["pass@1"]["value"], found["pass@1"]["n_samples"]) == (1.0, None, 0)


def test_a_rollout_without_a_score_is_an_error() -> None:
    rollouts, scores = planted("m", lambda t, s: True)
    assert rates("m", (rollouts, scores.slice(3)))["error_share"]["value"] == pytest.approx(3 / 240)


def test_other_policies_and_tasks_are_left_alone() -> None:
    mine, other = planted("m", lambda t, s: True), planted("other", lambda t, s: False)
    both = pa.concat_tables([mine[0], other[0]]), pa.concat_tables([mine[1], other[1]])
    assert rates("m", both)["pass@1"]["value"] == 1.0
    with pytest.raises(DataError, match="no rollout of policy nobody"):
        rates("nobody", both)


def test_several_seeds_are_pooled_by_problem() -> None:
    runs = []
    for seed in range(3):
        before = outcomes(*planted("b", lambda t, s, seed=seed: s == seed), TASKS, policy_id="b")
        runs.append((outcomes(*planted("m", lambda t, s: s < 2), TASKS, policy_id="m"), before))
    found = pooled(runs, draws=200)
    assert (found.value, found.n) == (0.25, N)
