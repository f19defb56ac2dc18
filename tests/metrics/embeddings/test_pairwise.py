"""Scores of all pairs: closed forms, and that blocks and samples change nothing they should not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError, UsageError
from ratoon.metrics.qdc.diversity import dc_score, homogenisation, novel_sum, self_bleu


def test_dc_score_has_its_closed_forms_and_hangs_on_its_temperature() -> None:
    assert dc_score(np.ones((5, 3))) == pytest.approx(1)
    assert dc_score(np.eye(4), tau=1) == pytest.approx(4 * math.e / (math.e + 3))
    assert dc_score(np.eye(4), tau=1) == pytest.approx(1.90146755)
    assert dc_score(np.eye(4), tau=0.01) == pytest.approx(4)
    assert dc_score(np.tile(np.eye(3), (500, 1)), tau=0.01) == pytest.approx(3), "in blocks too"
    with pytest.raises(UsageError, match="tau"):
        dc_score(np.eye(2), tau=0)


def test_novel_sum_has_its_closed_forms() -> None:
    assert novel_sum(np.ones((5, 3)), beta=0) == pytest.approx(0)
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert novel_sum(np.eye(4), beta=0) == pytest.approx((harmonic - 1) / harmonic)
    assert novel_sum(np.eye(4), beta=0) == pytest.approx(0.52)
    assert novel_sum(np.eye(4), beta=0, include_self=False) == pytest.approx(1)
    assert novel_sum(np.eye(4), beta=0.5) == pytest.approx(0.52 * 2**-0.5), "every neighbour at a squared distance of 2"
    assert novel_sum(np.eye(4)[:1], beta=0.5) == 0
    with pytest.raises(DataError, match="no neighbour"):
        novel_sum(np.eye(4)[:1], include_self=False)


def test_self_bleu_of_copies_is_one_and_of_strangers_none() -> None:
    text = "the cat sat on the mat"
    assert self_bleu([text] * 3) == pytest.approx(1)
    assert self_bleu(["a b c d", "e f g h"]) == 0
    assert self_bleu([text]) is None
    assert self_bleu(["", " "]) is None
    near = self_bleu(["the cat sat on the mat", "the cat sat on the hat"])
    assert near is not None
    precision = [5 / 6, 4 / 5, 3 / 4, 2 / 3]
    assert near == pytest.approx(math.exp(sum(map(math.log, precision)) / 4))
    assert self_bleu([text] * 40, most=5) == pytest.approx(1)


def test_homogenisation_is_mean_rouge_l() -> None:
    found = homogenisation(["a b c d", "a b c e"])
    assert found is not None
    assert found == (0.75, 0.75, 0.75, 1)
    disjoint = homogenisation(["a b", "c d", "e f"])
    assert disjoint is not None
    assert disjoint.value == 0
    assert homogenisation(["a"]) is None


@given(st.lists(st.sampled_from(["a b c", "a b d", "x y z", "a a a", ""]), min_size=2, max_size=12))
def test_a_draw_of_pairs_covers_the_mean_of_all(texts: list[str]) -> None:
    every, some = homogenisation(texts), homogenisation(texts * 12, pairs=600)
    assert every is not None
    assert some is not None
    tokens = len(texts)
    whole = homogenisation(texts * 12, pairs=10**6)
    assert whole is not None
    assert abs(some.value - whole.value) <= 3 * (some.hi - some.lo) + 1e-9, tokens
