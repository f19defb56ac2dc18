"""Budget flags become fields of the recipe, and spending a line."""

from __future__ import annotations

import pytest

from ratoon.cli.budget import seconds, sets, spending
from ratoon.errors import UsageError


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("90s", 90), ("45m", 2700), ("1.5h", 5400), ("2 d", 172800)])
def test_a_time_may_have_a_unit(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "h", "-5", "1h30m", "soon"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="no time") as caught:
        seconds(text)
    assert "45m" in caught.value.hint


def test_only_the_flags_that_are_given_are_set() -> None:
    assert sets() == []
    assert sets(max_tokens=0, max_time="1m") == ["budget.max_tokens=0", "budget.max_time_s=60.0"]
    assert sets(max_cost=0.5, target_accepted=9) == ["budget.max_cost=0.5", "generate.target_accepted=9"]


def test_an_unknown_cost_and_no_limit_are_not_told() -> None:
    spent = {"prompt_tokens": 1000, "sampled_tokens": 20, "cost": None, "max_tokens": None, "max_cost": None}
    assert spending(spent) == "spent 1,000 prompt + 20 sampled tokens"
    assert spending(spent | {"cost": 0.25, "max_cost": 5.0, "max_tokens": 9000}).endswith("of 9,000  cost 0.25 of 5")
