"""Twins label each other: what one wording gets wrong as one is no label, and every lost label has its reason."""

from __future__ import annotations

import pyarrow as pa

from ratoon import schema
from ratoon.metrics.voting.consensus import ConsensusConfig, Labels, consensus
from ratoon.metrics.voting.paraphrase_pairs import crossed, measures, twins

CONFIG = ConsensusConfig(n_min=1, share=0.5, margin=0.1)


def said(**answers: list[str | None]) -> tuple[pa.Table, Labels]:
    """Rollouts and self-votes: per task what its rollouts answered, None where nothing could be read."""
    rollouts = [
        {"rollout_id": f"r_{task}{i}", "group_id": f"g_{task}", "task_id": task, "prompt_id": f"p_{task}", "policy_id": "m",
         "sampling_id": "s", "role": "solver", "iteration": 1, "finish_reason": "stop", "text": ""}
        for task, given in answers.items() for i, _ in enumerate(given)
    ]  # fmt: skip
    readings = [
        {"subject_kind": "rollout", "subject_id": f"r_{task}{i}", "scorer": "reading", "version": "1", "repeat": 0,
         "status": "abstain" if answer else "fail", "answer": answer, "detail": None if answer else "unparsed: none"}
        for task, given in answers.items() for i, answer in enumerate(given)
    ]  # fmt: skip
    table = schema.from_rows("rollouts", rollouts)
    return table, consensus(table, schema.from_rows("scores", readings), schema.empty("assignments"), CONFIG)


PAIR = {"a": "b", "b": "a"}


def statuses(labels: Labels) -> dict[str, str]:
    return dict(zip(labels.groups["task_id"].to_pylist(), labels.groups["vote_status"].to_pylist(), strict=True))


def verdicts(labels: Labels) -> dict[str, str]:
    return dict(zip(labels.scores["subject_id"].to_pylist(), labels.scores["status"].to_pylist(), strict=True))


def test_a_mistake_that_one_wording_invites_labels_itself_but_not_its_twin() -> None:
    """The self-vote accepts the wrong mode of view b; the cross-vote does not."""
    rollouts, own = said(a=["7", "7", "7", "8"], b=["8", "8", "8", "7"])
    assert statuses(own) == {"a": "accepted", "b": "accepted"}
    found = crossed(own, rollouts, PAIR)
    assert statuses(found) == {"a": "twin_changed", "b": "twin_changed"}
    assert set(verdicts(found).values()) == {"abstain"}
    assert set(found.scores["detail"].to_pylist()) == {"twin_changed"}
    assert found.groups["pass_rate"].null_count == 2
    assert found.groups["n_valid"].to_pylist() == [0, 0]


def test_twins_that_agree_label_each_other_and_nothing_of_the_rewards_changes() -> None:
    rollouts, own = said(a=["7", "7", "7", "8"], b=["7", "7", None, "9"])
    found = crossed(own, rollouts, PAIR)
    assert statuses(found) == {"a": "accepted", "b": "accepted"}
    assert verdicts(found) == verdicts(own)
    assert verdicts(found)["r_b2"] == "fail"  # silence never wins and is no agreement
    assert found.groups["pass_rate"].to_pylist() == [0.75, 0.5]
    assert set(found.groups["vote"].to_pylist()) == {"7"}


def test_a_vote_whose_twin_is_open_or_was_not_asked_is_no_label() -> None:
    rollouts, own = said(a=["7", "7", "7"], b=["1", "2", "3"], c=["5", "5"], d=[None, None])
    found = crossed(own, rollouts, PAIR | {"d": "c"})
    assert statuses(found) == {"a": "twin_open", "b": "tie", "c": "twin_absent", "d": "none"}


def test_only_views_of_one_policy_and_sampling_are_held_together() -> None:
    rollouts, own = said(a=["7", "7"], b=["7", "7"])
    other = own.groups.set_column(
        own.groups.schema.get_field_index("policy_id"), "policy_id", pa.array(["m", "m2"], pa.string())
    )
    assert set(statuses(crossed(Labels(other, own.scores), rollouts, PAIR)).values()) == {"twin_absent"}


def test_no_order_of_groups_changes_a_label() -> None:
    rollouts, own = said(a=["7", "7"], b=["7", "7"], c=["1", "1"])
    turned = Labels(own.groups.take([2, 0, 1]), own.scores)
    assert crossed(turned, rollouts, PAIR).groups.equals(crossed(own, rollouts, PAIR).groups)


def test_what_was_lost_is_counted_over_the_votes_that_stood_alone() -> None:
    rollouts, own = said(a=["7", "7"], b=["8", "8"], c=["5", "5"], d=["5", "5"], e=["1", "2"])
    rows = measures(crossed(own, rollouts, PAIR | {"c": "d", "d": "c"}).groups, iteration=1).to_pylist()
    found = {row["metric"]: (row["value"], row["n"]) for row in rows}
    assert found == {"consensus/twin_changed": (0.5, 4), "consensus/twin_open": (0.0, 4), "consensus/twin_absent": (0.0, 4)}


def test_a_task_is_the_twin_of_its_parent_and_the_parent_of_its_first_rewrite() -> None:
    rows = [{"task_id": "p", "parent_ids": None}, {"task_id": "x", "parent_ids": ["p"]}, {"task_id": "y", "parent_ids": ["p"]},
            {"task_id": "z", "parent_ids": ["elsewhere"]}]  # fmt: skip
    assert twins(rows) == {"x": "p", "y": "p", "p": "x"}
