"""Which answer leads the accepted votes, and when that is worth a warning."""

from __future__ import annotations

import json

import pytest

from ratoon import schema
from ratoon.metrics.voting.answer_collapse import balance, taken_over


def groups(*votes: tuple[str | None, str]):
    return schema.from_rows("groups", [{"group_id": f"g{i}", "vote": v, "vote_status": s} for i, (v, s) in enumerate(votes)])


def test_only_accepted_votes_count() -> None:
    row = balance(groups(*[("yes", "accepted")] * 3, ("no", "accepted"), *[("no", "share")] * 9, (None, "none")))
    assert row is not None
    assert (row["value"], row["n"]) == (0.75, 4)
    assert json.loads(row["params"]) == {"answer": "yes", "counts": {"yes": 3, "no": 1}}
    assert balance(groups(("yes", "tie"))) is None


@pytest.mark.parametrize(
    ("yes", "no", "warned"), [(10, 0, True), (9, 1, False), (19, 1, True), (7, 0, False), (5, 5, False), (0, 12, True)]
)
def test_a_warning_needs_more_than_the_limit_of_enough_votes(yes: int, no: int, warned: bool) -> None:
    row = balance(groups(*[("yes", "accepted")] * yes, *[("no", "accepted")] * no))
    assert row is not None
    assert (taken_over(row, 0.9) is not None) is warned
