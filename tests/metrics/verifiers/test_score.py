import pytest

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.verifiers.score import score, score_gold


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(1) as pool:
        yield pool


def tasks(*rows: dict):
    return schema.from_rows(
        "tasks", [{"task_id": "t", "answer": "7", "verifier": "numeric", "verifier_args": "{}"} | r for r in rows]
    )


def rollouts(*rows: dict):
    base = {"task_id": "t", "text": "so 7", "finish_reason": "stop"}
    return schema.from_rows("rollouts", [base | {"rollout_id": f"r{i}"} | r for i, r in enumerate(rows)])


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({}, ("pass", 1.0, "7", None)),
        ({"text": "so 8"}, ("fail", 0.0, "8", "wrong")),
        ({"text": ""}, ("fail", 0.0, None, "empty")),
        ({"text": "hm"}, ("fail", 0.0, None, "unparsed: no number")),
        ({"finish_reason": "length"}, ("fail", 0.0, "7", "length")),
        ({"finish_reason": "length", "text": "hm"}, ("fail", 0.0, None, "length")),
        ({"finish_reason": "length", "text": ""}, ("fail", 0.0, None, "length")),
        ({"text": "<think>7</think> hm"}, ("fail", 0.0, None, "unparsed: no number")),
        ({"text": "<think>8</think> 7"}, ("pass", 1.0, "7", None)),
        ({"text": "<think>so 7"}, ("fail", 0.0, None, "unfinished_thinking")),
        ({"text": "so 7", "meta": '{"unfinished_thinking":true}'}, ("fail", 0.0, None, "unfinished_thinking")),
        (
            {"text": "so 7", "meta": '{"unfinished_thinking":true}', "finish_reason": "length"},
            ("fail", 0.0, None, "unfinished_thinking"),
        ),
        ({"text": "so 8, so 7", "answer_start": 6}, ("pass", 1.0, "7", None)),
        ({"text": "so 8, so 7", "answer_start": 6, "finish_reason": "length"}, ("fail", 0.0, "7", "length")),
        ({"text": "<think>8</think> 7", "answer_start": 0}, ("pass", 1.0, "7", None)),
        ({"text": None, "error": "TimeoutError: 30 s", "finish_reason": "error"}, ("error", None, None, "TimeoutError: 30 s")),
        ({"text": None}, ("error", None, None, "rollout has no text")),
    ],
)
def test_a_rollout_gets_the_verdict_its_fate_deserves(pool: VerifierPool, row: dict, verdict: tuple) -> None:
    made = score(rollouts(row), tasks({}), pool).to_pylist()[0]
    assert tuple(made[c] for c in ("status", "value", "answer", "detail")) == verdict


def test_a_score_names_its_subject_scorer_and_version(pool: VerifierPool) -> None:
    made = score(rollouts({}), tasks({}), pool)
    assert made.schema == schema.TABLES["scores"]
    row = made.to_pylist()[0]
    assert (row["subject_kind"], row["subject_id"], row["other_id"]) == ("rollout", "r0", None)
    assert (row["scorer"], row["version"], row["repeat"]) == ("numeric", pool.version("numeric"), 0)


def test_a_gold_that_cannot_be_judged_abstains_even_for_a_cut_reply(pool: VerifierPool) -> None:
    made = score(rollouts({}, {"finish_reason": "length"}, {"text": ""}, {"text": "<think>"}), tasks({"answer": "seven"}), pool)
    assert set(made["status"].to_pylist()) == {"abstain"}


def test_each_task_is_judged_by_its_own_verifier_and_order_is_kept(pool: VerifierPool) -> None:
    table = tasks({"task_id": "a", "verifier": "exact", "answer": "so 7"}, {"task_id": "b"}, {"task_id": "c", "verifier": None})
    made = score(rollouts(*({"task_id": t} for t in "abcabc")), table, pool)
    assert made["subject_id"].to_pylist() == ["r0", "r1", "r3", "r4"]  # a task without a verifier has no score
    assert made["scorer"].to_pylist() == ["exact", "numeric"] * 2
    assert set(made["status"].to_pylist()) == {"pass"}


def test_arguments_that_are_no_json_are_an_error_of_the_task(pool: VerifierPool) -> None:
    made = score(rollouts({}), tasks({"verifier_args": "{"}), pool)
    assert made["status"].to_pylist() == ["error"]


def test_an_unknown_task_is_refused(pool: VerifierPool) -> None:
    with pytest.raises(DataError, match="nowhere"):
        score(rollouts({"task_id": "nowhere"}), tasks({}), pool)


def test_no_rollouts_give_no_scores(pool: VerifierPool) -> None:
    assert score(schema.empty("rollouts"), tasks({}), pool).num_rows == 0


def test_a_gold_must_pass_its_own_verifier(pool: VerifierPool) -> None:
    table = tasks(
        {"task_id": "good", "verifier_args": '{"extract": "boxed"}'},
        {"task_id": "bad", "answer": "seven"},
        {"task_id": "none", "answer": None},
        {"task_id": "args", "verifier_args": '{"extract": "middle"}'},
        {"task_id": "free", "verifier": None},
    )
    made = {row["subject_id"]: row["status"] for row in score_gold(table, pool).to_pylist()}
    assert made == {"good": "pass", "bad": "abstain", "none": "abstain", "args": "error"}
