"""Difficulty, steps, operators, behaviours and both IFDs: closed forms, planted texts, odd inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.metrics.qdc.complexity import behaviours, difficulty, ifd, ifd_of, learnability, structure


def groups(passed: list[int | None], valid: list[int | None]) -> pa.Table:
    return pa.table({"n_passed": pa.array(passed, pa.int32()), "n_valid": pa.array(valid, pa.int32())})


def test_difficulty_is_the_mean_over_tasks_and_learnability_peaks_at_one_half() -> None:
    found = difficulty(groups([4, 0, 2, None], [4, 4, 4, 0]), ["a", "b", "c", "d"])
    assert found is not None
    assert (found.value, found.n) == (0.5, 3)
    assert learnability(groups([2, 4, 0], [4, 4, 4])) == pytest.approx(0.25 * 4 / 3 / 3)
    assert difficulty(groups([], [])) is None
    assert learnability(groups([1], [1])) is None
    with pytest.raises(DataError, match="n_passed"):
        difficulty(pa.table({"n_valid": [1]}))


@pytest.mark.parametrize(
    ("text", "sentences", "blocks", "equations", "operators", "kinds", "steps"),
    [
        ("3 + 4 = 7. Then 7 * 2 = 14.", 2, 1, 2, 2, 2, 2),
        ("First add. Then halve!\n\nDone.", 3, 2, 0, 0, 0, 3),
        ("The value is 3.14 cm", 0, 1, 0, 0, 0, 1),
        ("東京。大阪。", 2, 1, 0, 0, 0, 2),
        ("(2 + 3) × 4 = 20", 0, 1, 1, 2, 2, 1),
        ("", 0, 0, 0, 0, 0, 0),
    ],
)
def test_steps_and_operators_are_counted(
    text: str, sentences: int, blocks: int, equations: int, operators: int, kinds: int, steps: int
) -> None:
    (row,) = structure([text]).to_pylist()
    assert row == {"sentences": sentences, "blocks": blocks, "equations": equations, "operators": operators,
                   "operator_kinds": kinds, "steps": steps}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("verification", "Let me check: 3 + 4 is 7."),
        ("backtracking", "Wait, that is not it. Let me try again."),
        ("subgoals", "Step 1: add. First, we find the sum."),
        ("backward_chaining", "Working backwards, the target is 24."),
    ],
)
def test_each_behaviour_is_seen_where_it_is_worded_and_not_elsewhere(name: str, text: str) -> None:
    (row,) = behaviours([text]).to_pylist()
    assert row[name] >= 1
    assert set(behaviours(["The answer is 7."]).to_pylist()[0].values()) == {0}


@given(st.lists(st.one_of(st.none(), st.text()), max_size=5))
def test_any_text_has_counts_and_a_null_has_none(texts: list[str | None]) -> None:
    for table in (structure(texts), behaviours(texts)):
        assert table.num_rows == len(texts)
        for text, row in zip(texts, table.to_pylist(), strict=True):
            assert all((value is None) == (text is None) for value in row.values())
    assert structure(pa.nulls(2))["steps"].to_pylist() == [None, None]


class Bigrams:
    """A hand-made bigram model behind the engine's `logprobs`: token t follows s with probability table[s][t]."""

    name = "bigrams"
    table = ((0.5, 0.25, 0.25), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6))

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        return [[math.log(self.table[s][t]) for s, t in zip([p[-1], *a[:-1]], a, strict=True)] for p, a in sequences]


def test_both_ifds_of_a_bigram_model_have_their_closed_forms_and_differ() -> None:
    (found,) = ifd(Bigrams(), [[2, 1]], [[1, 1]], [0])  # type: ignore[arg-type]
    given, alone = -(2 * math.log(0.8)) / 2, -(math.log(0.25) + math.log(0.8)) / 2
    assert found.loss == pytest.approx(given / alone)
    assert found.ppl == pytest.approx(math.exp(given - alone))
    assert found.loss != pytest.approx(found.ppl)
    assert ifd(Bigrams(), [[1], [1]], [[], [1, 2, 2]], [0], max_tokens=1)[0] == (None, None)  # type: ignore[arg-type]


def test_unlike_tokens_and_certain_answers_are_no_ifd() -> None:
    assert ifd_of([], []) == (None, None)
    assert ifd_of([-math.inf], [-1.0]) == (None, None)
    assert ifd_of([0.0], [0.0]) == (None, 1.0)
    with pytest.raises(DataError, match="same tokens"):
        ifd_of([-1.0], [-1.0, -1.0])
    with pytest.raises(DataError, match="conditions nothing"):
        ifd(Bigrams(), [[]], [[1]], [0])  # type: ignore[arg-type]
