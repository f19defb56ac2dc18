import json

import pytest
import reasoning_gym

from ratoon.errors import ConfigError
from ratoon.metrics.verifiers.reasoning_gym import specimen, verify


def args_for(dataset: str, **more: object) -> dict:
    entry = reasoning_gym.create_dataset(dataset, size=1, seed=5)[0]
    return {"dataset": dataset, "entry": json.loads(json.dumps(entry)), **more}


@pytest.mark.parametrize(
    "dataset", ["chain_sum", "spell_backward", "basic_arithmetic", "letter_counting", "number_sorting", "rearc"]
)
def test_the_gold_passes_its_own_verifier(dataset: str) -> None:
    args = args_for(dataset)
    gold = args["entry"]["answer"]
    assert verify(specimen(gold, args), gold, args).status == "pass"


def test_partial_credit_is_a_failure_that_keeps_its_raw_value() -> None:
    args = args_for("chain_sum")
    gold = args["entry"]["answer"]
    verdict = verify(f"<answer>{gold} or {gold}1</answer>", gold, args)
    assert verdict.status == "fail"
    assert verdict.value is not None
    assert 0 < verdict.value < 1


@pytest.mark.parametrize(
    ("text", "detail"),
    [("", "empty"), ("no tag 7", "unparsed: nothing in 'tagged'"), ("<answer>7", "unparsed: nothing in 'tagged'")],
)
def test_a_reply_without_an_answer_fails(text: str, detail: str) -> None:
    assert verify(text, "7", args_for("chain_sum")).detail == detail


def test_the_last_number_can_be_the_answer() -> None:
    args = args_for("chain_sum", extract="last_number")
    assert verify(f"so it is {args['entry']['answer']}.", None, args).status == "pass"


def test_an_entry_without_an_answer_abstains() -> None:
    args = {"dataset": "count_primes", "entry": {"question": "?", "answer": None, "metadata": {}}}
    assert verify("<answer>7</answer>", None, args)[::2] == ("abstain", "7")


def test_a_generator_that_names_no_answer_still_judges() -> None:
    args = args_for("rubiks_cube")
    assert args["entry"]["answer"] is None
    assert verify("<answer>no moves at all</answer>", None, args).status == "fail"


def test_an_unknown_generator_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        verify("<answer>7</answer>", "7", {"dataset": "nosuch", "entry": {"answer": "7"}})
