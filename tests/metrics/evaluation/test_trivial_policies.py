from ratoon import schema
from ratoon.metrics.evaluation.trivial_policies import CONSTANT, ECHO, evaluate_trivial
from ratoon.metrics.verifiers.pool import VerifierPool


def tasks(answers: list[str], prompt: str = "what is 3 + 4?", args: str = "{}"):
    rows = [
        {"task_id": f"t{i}", "problem_key": f"k{i}", "family": "f", "verifier": "numeric", "verifier_args": args,
         "answer": answer, "messages": [{"role": "user", "content": prompt}]}
        for i, answer in enumerate(answers)
    ]  # fmt: skip
    return schema.from_rows("tasks", rows)


def values(suite, known=None) -> dict[str, float]:
    with VerifierPool(1) as pool:
        made = evaluate_trivial(suite, pool, iteration=0, suite="heldout", known=known, draws=50).to_pylist()
    assert {row["metric"] for row in made} == {"pass@1", "pass@1/f"}
    return {row["policy_id"]: row["value"] for row in made if row["metric"] == "pass@1"}


def test_the_echo_policy_is_right_where_the_answer_stands_in_the_prompt() -> None:
    found = values(tasks(["3"] * 100))
    assert 0.4 < found[ECHO] < 0.6
    assert values(tasks(["7"] * 10))[ECHO] == 0.0


def test_the_constant_policy_says_the_most_common_known_answer() -> None:
    suite = tasks(["1", "0", "1", "2"], args='{"extract": "boxed"}')
    assert values(suite, known=tasks(["1", "1", "5"]))[CONSTANT] == 0.5
    assert values(suite)[CONSTANT] == 0.25  # 0 without known tasks


def test_the_share_that_may_go_unjudged_is_the_recipes() -> None:
    suite, found = tasks(["7", "7", "7", "not a number"]), {}
    with VerifierPool(1) as pool:
        for share in (0.1, 0.3):
            made = evaluate_trivial(suite, pool, iteration=0, suite="heldout", max_unjudged=share, draws=50).to_pylist()
            found[share] = [row["value"] for row in made if row["metric"] == "pass@1"]
    assert found == {0.1: [None, None], 0.3: [0.0, 0.0]}
