import json

import pytest
import reasoning_gym

from ratoon import config, schema
from ratoon.errors import ConfigError
from ratoon.generators.tasks.reasoning_gym import ReasoningGymConfig, propose


def arm(**fields):
    return ReasoningGymConfig(**({"dataset": "chain_sum", "n": 6} | fields))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"n": 0}, "greater than or equal to 1"),
        ({"wording": "no place"}, "must hold {question}"),
        ({"config": {"seed": 3}}, "seed is set by ratoon"),
        ({"verifier_args": {"entry": 1}}, "entry is set by ratoon"),
    ],
)
def test_a_bad_config_is_refused_by_field(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(ReasoningGymConfig, {"dataset": "gcd", "n": 2} | tree, "tasks.0")


def test_a_misspelt_generator_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'chain_sum'"):
        propose(arm(dataset="chain_sums"), 0)


@pytest.mark.parametrize("settings", [{"min_digit": 1}, {"min_digits": 0}])
def test_settings_the_generator_refuses_are_told(settings):
    with pytest.raises(ConfigError, match=r"refuses its settings.*min_digit"):
        propose(arm(config=settings), 0)


def test_the_same_seed_gives_the_same_tasks_and_the_next_shares_none():
    settings = {"min_digits": 3, "max_digits": 4}
    tasks = propose(arm(config=settings), 1).tasks
    assert propose(arm(config=settings), 1).tasks.equals(tasks)
    assert not set(tasks["problem_key"].to_pylist()) & set(propose(arm(config=settings), 2).tasks["problem_key"].to_pylist())


def test_a_task_is_whole():
    proposal = propose(arm(name="sums", level="easy", wording="Q: {question}\nA:", verifier_args={"extract": "last_number"}), 0)
    assert proposal.tasks.schema == schema.TABLES["tasks"]
    for row in proposal.tasks.to_pylist():
        args = json.loads(row["verifier_args"])
        assert args["dataset"] == "chain_sum"
        assert args["extract"] == "last_number"
        assert row["messages"][0]["content"] == f"Q: {args['entry']['question']}\nA:"
        assert (row["family"], row["level"], row["verifier"]) == ("sums", "easy", "reasoning_gym")
        assert row["answer"] == args["entry"]["answer"]
    assert sorted(proposal.oracles["task_id"].to_pylist()) == sorted(proposal.tasks["task_id"].to_pylist())


@pytest.mark.parametrize(
    "name", ["chain_sum", "gcd", "products", "leg_counting", "spell_backward", "countdown", "basic_arithmetic"]
)
def test_the_oracle_scores_one_with_the_entry_as_stored(name):
    scorer = reasoning_gym.create_dataset(name, seed=0, size=1)
    for row in propose(arm(dataset=name), 5).tasks.to_pylist():
        assert scorer.score_answer(row["answer"], json.loads(row["verifier_args"])["entry"]) == 1.0


def test_harder_settings_make_longer_questions():
    def mean(terms):
        tasks = propose(arm(config={"min_terms": terms, "max_terms": terms}), 0).tasks
        return sum(len(m[0]["content"]) for m in tasks["messages"].to_pylist())

    assert mean(2) < mean(6)


def test_repeated_questions_are_left_out_and_counted():
    one_digit = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    proposal = propose(arm(dataset="products", config=one_digit, n=60), 0)
    assert len(set(proposal.tasks["problem_key"].to_pylist())) == 60
    assert proposal.dropped > 0
    assert proposal.planned == 60 + proposal.dropped


def test_too_few_distinct_questions_are_refused_with_the_number_found():
    one_digit = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(ConfigError, match=r"hold only \d+ distinct questions"):
        propose(arm(dataset="products", config=one_digit, n=300), 0)
