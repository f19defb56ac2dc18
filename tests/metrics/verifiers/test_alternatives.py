import json

import pyarrow as pa
import pytest

from ratoon import judge_reply
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.score import score_gold


def strict(text, answer, args):
    """A verifier of one's own that knows no alternatives: it is called once a gold, with its own arguments alone."""
    assert "alternatives" not in args
    return text == answer if answer != "?" else None


@pytest.mark.parametrize(
    ("reply", "status"), [("Paris", "pass"), ("the City of Light", "pass"), ("Rome", "fail"), ("", "fail")]
)
@pytest.mark.parametrize("inline", [True, False])
def test_any_of_several_golds_will_do(reply, status, inline):
    verdict = judge_reply(reply, "Paris", "exact", inline=inline, alternatives=["the City of Light"])
    assert verdict.status == status


def test_ones_own_verifier_is_asked_about_each_gold_until_one_passes():
    args = {"alternatives": ["?", "b"]}
    with VerifierPool(1, extra={"strict": strict}) as pool:
        verdicts = pool.run([Item("strict", text, "a", args) for text in "abc"])
        unknown = pool.run([Item("strict", "c", "?", {"alternatives": ["?"]})])
    assert [verdict.status for verdict in verdicts] == ["pass", "pass", "fail"]
    assert unknown[0].status == "abstain"


def test_alternatives_that_are_no_texts_are_an_error():
    assert judge_reply("Paris", "Paris", "exact", inline=True, alternatives="Paris").status == "error"


def test_the_gold_check_takes_a_task_with_alternatives():
    args = json.dumps({"alternatives": ["four"]})
    tasks = pa.table({"task_id": ["a"], "answer": ["4"], "verifier": ["numeric"], "verifier_args": [args]})
    with VerifierPool(1) as pool:
        assert score_gold(tasks, pool)["status"].to_pylist() == ["pass"]
