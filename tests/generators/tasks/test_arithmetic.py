import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon import config, schema
from ratoon.errors import ConfigError
from ratoon.generators.tasks import propose_all
from ratoon.generators.tasks.arithmetic import OPERATIONS, ArithmeticConfig, problem_key, propose
from ratoon.messages import compact
from ratoon.metrics.verifiers import VERIFIERS

BY_HAND = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "remainder": lambda a, b: a - b * (a // b),
    "compare": lambda a, b: sorted((a, b))[1],
    "add3": lambda a, b, c: sum((a, b, c)),
    "max3": lambda a, b, c: sorted((a, b, c))[2],
    "min3": lambda a, b, c: sorted((a, b, c))[0],
}


def arm(**fields):
    return ArithmeticConfig(**({"operation": "add", "n": 10} | fields))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"operation": "ad"}, "operation"),
        ({"n": 0}, "greater than or equal to 1"),
        ({"digits": [0]}, "1 to 9 digits"),
        ({"digits": [[3, 1]]}, "fewest first"),
        ({"digits": [1, 1, 1]}, "takes 1 or 2"),
        ({"wordings": ["What is {a}?"]}, "must hold exactly {a}, {b}"),
        ({"wordings": ["{a} {b} {c}"]}, "must hold exactly"),
        ({"wordings": ["{a"]}, "wording"),
        ({"digit": [1]}, "did you mean 'digits'"),
    ],
)
def test_a_bad_config_is_refused_by_field(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(ArithmeticConfig, {"operation": "add", "n": 5} | tree, "tasks.0")


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others():
    tasks = propose(arm(digits=(2,)), 1).tasks
    assert propose(arm(digits=(2,)), 1).tasks.equals(tasks)
    assert set(propose(arm(digits=(2,)), 2).tasks["task_id"].to_pylist()) != set(tasks["task_id"].to_pylist())


def test_neighbouring_seeds_are_not_shifted_copies():
    seen = [propose(arm(digits=(3,), n=50), seed).tasks["problem_key"].to_pylist() for seed in range(4)]
    assert len({key for keys in seen for key in keys}) > 190


def test_a_task_is_whole():
    proposal = propose(arm(operation="subtract", digits=(2, 1), name="minus", verifier_args={"extract": "last"}), 0)
    assert proposal.tasks.schema == schema.TABLES["tasks"]
    row = proposal.tasks.to_pylist()[0]
    a, b = json.loads(row["meta"])["operands"]
    assert 10 <= a <= 99
    assert 0 <= b <= 9
    assert compact(row["messages"]) == [{"role": "user", "content": f"What is {a} - {b}? Reply with just the number."}]
    assert (row["answer"], row["problem_key"]) == (str(a - b), f"subtract:{a},{b}")
    assert (row["family"], row["level"], row["source"]) == ("minus", "2x1", "arithmetic")
    assert (row["verifier"], row["verifier_args"], row["split"]) == ("numeric", '{"extract":"last"}', None)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("digits", [(1,), (2,), ((1, 4),)])
def test_the_oracle_is_right_by_hand_and_in_its_own_row(operation, digits):
    proposal = propose(arm(operation=operation, digits=digits, n=12), 3)
    truth = {row["task_id"]: row["oracle"] for row in proposal.oracles.to_pylist()}
    for row in proposal.tasks.to_pylist():
        operands = json.loads(row["meta"])["operands"]
        right = BY_HAND[operation](*operands)
        assert int(row["answer"]) == right >= 0
        assert truth[row["task_id"]] == row["answer"]
        assert all(str(operand) in row["messages"][0]["content"] for operand in operands)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_oracle_passes_the_verifier_its_task_names(operation):
    for row in propose(arm(operation=operation, digits=((1, 3),)), 1).tasks.to_pylist():
        args = json.loads(row["verifier_args"])
        assert VERIFIERS[row["verifier"]].verify(f"It is {row['answer']}.", row["answer"], args).status == "pass"
        assert VERIFIERS[row["verifier"]].verify(f"It is {int(row['answer']) + 1}.", row["answer"], args).status == "fail"


def test_more_digits_are_harder_numbers():
    def mean(digits):
        return sum(int(a) for a in propose(arm(digits=digits, n=50), 0).tasks["answer"].to_pylist()) / 50

    assert mean((1,)) < mean((2, 1)) < mean((2,)) < mean((3,))


@pytest.mark.parametrize(("operation", "most"), [("add", 55), ("subtract", 55), ("compare", 45), ("add3", 220), ("max3", 120)])
def test_too_many_are_refused_with_the_most_there_are(operation, most):
    assert propose(arm(operation=operation, n=most), 0).tasks.num_rows == most
    with pytest.raises(ConfigError, match=f"only {most} distinct problems"):
        propose(arm(operation=operation, n=most + 1), 0)


def test_a_space_of_middling_size_is_used_to_its_end():
    # 900 x 90 operands are drawn from first, and listed where draws do not find all.
    every = {f"divide:{b * q},{b}" for b in range(10, 100) for q in range(1, 100) if 100 <= b * q <= 999}
    config = arm(operation="divide", digits=(3, 2), n=len(every))
    assert set(propose(config, 0).tasks["problem_key"].to_pylist()) == every


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 2**62), st.integers(1, 20))
def test_a_larger_n_keeps_all_that_a_smaller_one_had(operation, seed, n):
    small = propose(arm(operation=operation, digits=(2,), n=n), seed).tasks["task_id"].to_pylist()
    large = propose(arm(operation=operation, digits=(2,), n=n + 5), seed).tasks["task_id"].to_pylist()
    assert large[:n] == small
    assert len(set(large)) == n + 5


def test_the_same_problem_in_other_words_has_the_same_key():
    wordings = ("Add {a} and {b}.", "{b} plus {a}?")
    plain = propose(arm(n=55), 0).tasks["problem_key"].to_pylist()
    worded = propose(arm(n=55, wordings=wordings), 9).tasks
    assert sorted(worded["problem_key"].to_pylist()) == sorted(plain)
    starts = {m[0]["content"].startswith("Add") for m in worded["messages"].to_pylist()}
    assert starts == {True, False}


def test_order_of_operands_counts_only_where_it_matters():
    assert problem_key("add", (4, 3)) == problem_key("add", (3, 4)) == "add:3,4"
    assert problem_key("subtract", (4, 3)) != problem_key("subtract", (3, 4))


def test_arms_of_one_operation_share_no_problem():
    arms = [arm(name="a", n=30), arm(name="b", n=25, wordings=("{a} and {b}?",))]
    tasks = propose_all(arms, 0).tasks
    assert len(set(tasks["problem_key"].to_pylist())) == tasks.num_rows == 55
    with pytest.raises(ConfigError, match=r"'b'.*only 25 distinct problems besides"):
        propose_all([arms[0], arm(name="b", n=26)], 0)


def test_an_arm_added_at_the_end_changes_none_before_it():
    arms = [arm(name="a", n=20), arm(name="b", n=20)]
    both = propose_all(arms, 0).tasks
    assert both.slice(0, 20).equals(propose_all(arms[:1], 0).tasks)


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two task arms are called 'add-1x1'"):
        propose_all([arm(), arm()], 0)
