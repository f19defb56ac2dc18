from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratoon import schema
from ratoon.metrics.verifiers import numeric
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.voting.extracted_answers import _plain, readings

PIECES = ["7", "-12", "0", "007", "1", "234", ".", ",", " ", "\n", "-", "+", "/", "=", ":", "x", "e", "$", "%", "^", "*", "10",
          "\\frac", "is", "The answer", "(", ")", "{", "}", "_", "!", "\u00a0", "\u2212", "×"]  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(1) as pool:
        yield pool


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@example("It is 12.5, so take 3")
@example("1 234")
@example("\\frac 57")
@example("a - 5")
@example("x: - 5")
@example("2 * 10")
def test_what_the_columns_read_is_what_the_verifier_reads(text: str) -> None:
    (fast,) = _plain(pa.array([text], pa.string())).to_pylist()
    if fast is not None:
        assert fast == numeric.verify(text, None, {}).answer


def test_plain_endings_need_no_worker() -> None:
    said = ["The answer is 42.", "-7", "so 3 + 4 = 7\n", "Total: 0!", "12 apples", "1,234", "It is 0.5", ""]
    assert _plain(pa.array(said)).to_pylist() == ["42", "-7", "7", "0", None, None, None, None]


def test_every_rollout_is_read_once_and_nobody_judges(pool: VerifierPool) -> None:
    said = ["The answer is 42.", "I take 84/2", "who knows", None, "", "The answer is 42.", "late"]
    rows = [
        {"rollout_id": f"r{i}", "text": text, "error": "Broken: x" if text == "late" else None} for i, text in enumerate(said)
    ]
    made = readings(schema.from_rows("rollouts", rows), "numeric", {}, pool)
    assert made["subject_id"].to_pylist() == [f"r{i}" for i in range(7)]
    assert made["answer"].to_pylist() == ["42", "42", None, None, None, "42", None]
    assert made["status"].to_pylist() == ["abstain"] * 3 + ["error", "abstain", "abstain", "error"]
    assert set(made["scorer"].to_pylist()) == {"reading"}
    assert made["value"].null_count == 7


@pytest.mark.parametrize(
    ("reader", "text", "answer"),
    [("exact", "  Paris ", "Paris"), ("choice", "The answer is (B).", "B"), ("math", r"so $\boxed{\frac{1}{2}}$", "1/2")],
)
def test_any_verifier_can_read_without_a_gold(pool: VerifierPool, reader: str, text: str, answer: str) -> None:
    made = readings(schema.from_rows("rollouts", [{"rollout_id": "r", "text": text}]), reader, {}, pool)
    assert (made["status"][0].as_py(), made["answer"][0].as_py()) == ("abstain", answer)
