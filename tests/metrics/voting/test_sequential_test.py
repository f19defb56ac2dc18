import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.metrics.voting.consensus import ConsensusConfig, decided
from ratoon.metrics.voting.plurality import Votes, plurality
from ratoon.metrics.voting.sequential_test import curtail, log_evidence, mode_at, settled

# Answers 0 to 2, -1 no answer, -2 never came back.
reply = st.integers(-2, 2)
rules = st.builds(
    ConsensusConfig, n_min=st.integers(1, 4), share=st.sampled_from([0.0, 0.3, 0.5, 0.7]),
    margin=st.sampled_from([0.0, 0.1, 0.4]), wilson=st.booleans(),
)  # fmt: skip


def votes(*groups: list[int]) -> Votes:
    group = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    choice = np.array([c for g in groups for c in g], np.int64)
    return plurality(group, np.maximum(choice, -1), choice > -2, len(groups))


def decision(replies: list[int], rule: ConsensusConfig) -> int | None:
    found = votes(replies)
    return int(found.winner[0]) if decided(found, rule)[0] == 0 else None


@settings(max_examples=40)
@given(st.lists(reply, max_size=5), st.integers(1, 4), rules)
def test_what_is_certain_holds_for_every_way_the_rest_can_fall(said: list[int], left: int, rule: ConsensusConfig) -> None:
    """Against all continuations; an answer never seen stands for all of its kind."""
    ends = {decision([*said, *rest], rule) for rest in itertools.product(range(-2, 4), repeat=left)}
    found = curtail(votes(said), np.array([left]), rule)
    assert bool(found.reject[0]) == (ends == {None}), "no label is certain exactly when no continuation has one"
    if found.accept[0]:
        assert ends == {decision(said, rule)}
        assert None not in ends


@given(st.lists(reply, max_size=8), rules)
def test_with_nothing_left_the_certainty_is_the_decision(said: list[int], rule: ConsensusConfig) -> None:
    found = curtail(votes(said), np.array([0]), rule)
    assert bool(found.accept[0]) == (decision(said, rule) is not None) == (not found.reject[0])


def test_a_clear_lead_stops_and_an_even_race_does_not() -> None:
    rule = ConsensusConfig(n_min=8)
    found = curtail(votes([1] * 20, [1, 2] * 10, [0, 1, 2] * 7, [-1] * 17), np.array([12, 12, 11, 15]), rule)
    assert found.accept.tolist() == [True, False, False, False]
    assert found.reject.tolist() == [False, False, False, True]


@pytest.mark.parametrize(("mine", "rival"), [(0, 0), (1, 0), (8, 0), (7, 2), (3, 9), (25, 7)])
def test_the_evidence_is_the_mixture_integral(mine: int, rival: int) -> None:
    t = np.linspace(0.5, 1.0, 200_001)
    integral = np.trapezoid(t**mine * (1 - t) ** rival, t)
    assert math.exp(log_evidence(mine, rival)) == pytest.approx(2 ** (mine + rival + 1) * integral, rel=1e-6)


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.0, 0.5))
def test_the_evidence_is_expected_to_fall_where_the_rival_is_as_likely(mine: int, rival: int, p: float) -> None:
    """The supermartingale property, one step at a time."""
    now = math.exp(log_evidence(mine, rival))
    after = p * math.exp(log_evidence(mine + 1, rival)) + (1 - p) * math.exp(log_evidence(mine, rival + 1))
    assert after <= now * (1 + 1e-9)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.34, 0.33, 0.33), (0.1,) * 10, (0.45, 0.4, 0.15)])
def test_looking_after_every_answer_errs_no_oftener_than_alpha(shares: tuple[float, ...]) -> None:
    random, trials, alpha = np.random.default_rng(3), 1_000, 0.2
    wrong = 0
    for answers in random.choice(len(shares), (trials, 40), p=np.array(shares) / sum(shares)).tolist():
        taken = next((m for n in range(1, 41) if (m := mode_at(answers[:n], alpha)) is not None), None)
        wrong += taken is not None and taken != 0
    assert wrong / trials <= alpha


def test_unseen_rivals_count_and_silence_does_not() -> None:
    assert mode_at([5] * 3, 0.05) is None, "three of one kind may be chance beside an answer not seen yet"
    assert mode_at([5, -1, -1] * 9, 0.05) == mode_at([5] * 9, 0.05) == 5
    assert mode_at([], 0.05) is None
    assert mode_at([-1] * 50, 0.05) is None


def test_a_group_settles_only_above_its_thresholds() -> None:
    one, ten = [0] * 12, [0] * 12 + [-1] * 20
    group = np.repeat([0, 1], [12, 32])
    choice = np.array(one + ten)
    found = plurality(group, choice, np.ones(44, bool), 2)
    order = np.concatenate([np.arange(12), np.arange(32)])
    rule = ConsensusConfig(stop="anytime", wave=4)
    assert settled(group, choice, order, found, rule).tolist() == [True, False]
