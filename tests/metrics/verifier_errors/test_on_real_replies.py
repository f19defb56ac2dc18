"""Natural replies against the hidden truth: what is clear-cut is read, what is not is left out."""

from __future__ import annotations

import pytest

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.verifier_errors.on_real_replies import natural, reading, table


@pytest.mark.parametrize(
    ("text", "oracle", "wanted"),
    [
        ("7", "7", True),
        ("It must be 7.0!", "7", True),
        ("x = 8", "7", False),
        ("First 7, then 8", "7", None),
        ("no idea", "7", None),
        ("", "7", None),
        ("3 + 4 = 7 so \\boxed{7}", "7", True),
        ("3 + 4 = 7 so \\boxed{8}", "7", False),
        ("1/2", "0.5", True),
        ("The Red House.", "red house", None),
        ("Red house.", "red house", True),
        ("<answer> Red  house </answer>", "red house", True),
        ("a blue one", "red house", False),
    ],
)
def test_a_reply_is_read_only_where_it_is_clear_cut(text: str, oracle: str, wanted: bool | None) -> None:
    assert reading(text, oracle) is wanted


def test_nothing_is_surely_wrong_where_other_answers_may_be_right() -> None:
    assert reading("x = 8", "7", unique=False) is None
    assert reading("7", "7", unique=False) is True


def crop(*verdicts: tuple[str, str, str | None, str]):
    """Rollouts and scores of (text, status, detail, finish_reason), one task each, whose truth is 7."""
    rollouts = [
        {"rollout_id": f"r{i}", "task_id": f"t{i}", "text": text, "finish_reason": reason}
        for i, (text, _, _, reason) in enumerate(verdicts)
    ]
    scores = [
        {"subject_kind": "rollout", "subject_id": f"r{i}", "scorer": "numeric", "version": "1", "status": s, "detail": d}
        for i, (_, s, d, _) in enumerate(verdicts)
    ]
    tasks = [{"task_id": f"t{i}", "verifier": "numeric"} for i in range(len(verdicts))]
    oracles = [{"task_id": f"t{i}", "oracle": "7"} for i in range(len(verdicts))]
    made = {"rollouts": rollouts, "scores": scores, "tasks": tasks, "oracles": oracles}
    return [schema.from_rows(name, rows) for name, rows in made.items()]


def test_errors_are_counted_against_the_truth_and_refusals_of_format_apart() -> None:
    ok = ("7", "pass", None, "stop")
    missed, let_through = ("7", "fail", "wrong", "stop"), ("8", "pass", None, "stop")
    (found,) = natural(
        *crop(
            *[ok] * 6,
            missed,
            missed,
            let_through,
            ("8", "fail", "wrong", "stop"),
            ("3 + 4 = 7", "pass", None, "stop"),
            ("7", "fail", "length", "length"),
            ("7", "fail", "unparsed: no box", "stop"),
        )
    )
    assert (found.fnr.value, found.fnr.n, found.fpr.value, found.fpr.n) == (0.25, 8, 0.5, 2)
    assert (found.judged, found.decided, found.off_format) == (11, 10, 2)
    assert table([found])["metric"].to_pylist() == ["natural_fpr", "natural_fnr"]


def test_a_wrong_gold_shows_as_an_error_of_the_verifier() -> None:
    """The verifier passes what the gold says; the oracle knows better."""
    (found,) = natural(*crop(*[("8", "pass", None, "stop")] * 5))
    assert (found.fpr.value, found.fnr) == (1.0, None)


def test_abstentions_and_tasks_without_truth_are_passed_over() -> None:
    rollouts, scores, tasks, oracles = crop(("7", "abstain", None, "stop"), ("7", "pass", None, "stop"))
    assert natural(rollouts, scores, tasks, oracles.slice(0, 1)) == []
    with pytest.raises(DataError, match="two oracles"):
        natural(rollouts, scores, tasks, schema.from_rows("oracles", [*oracles.to_pylist(), {"task_id": "t0", "oracle": "8"}]))
