"""noise_words and length_band: what SELF-GUIDE drops of outputs that nobody verified."""

import pyarrow as pa
import pytest

from ratoon.filters import length_band, noise_words
from ratoon.filters.length_band import LengthBandConfig
from ratoon.filters.noise_words import NoiseWordsConfig


def rows(texts, families=None):
    return pa.table({"text": pa.array(texts, pa.string()), "family": pa.array(families or ["f"] * len(texts), pa.string())})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The answer is 4.", None),
        ("As an AI I have no view.", "noise:as an ai"),
        ("I'm  SORRY, no.", "noise:i'm sorry"),
        ("I cannoter, a word of its own", None),
        ("Input: 3", "noise:input:"),
        ("the inputs are many", None),
        ("4 <|im_start|>user", "noise:<|"),
        (None, "noise:unknown"),
    ],
)
def test_whole_words_of_any_case_are_noise(text, reason):
    assert noise_words.keep(rows([text]), NoiseWordsConfig()).reason.to_pylist() == [reason]


def test_the_first_listed_word_is_the_reason():
    config = NoiseWordsConfig(words=("beta", "alpha"))
    assert noise_words.keep(rows(["alpha beta", "ALPHA", "gamma"]), config).reason.to_pylist() == [
        "noise:beta", "noise:alpha", None,
    ]  # fmt: skip


def test_the_band_is_the_mean_and_k_deviations_ends_included():
    texts = ["x" * n for n in (2, 4, 4, 4, 5, 5, 7, 9)]  # mean 5, standard deviation 2
    found = length_band.keep(rows(texts), LengthBandConfig(k=1))
    assert found.reason.to_pylist() == ["length_band:short", None, None, None, None, None, None, "length_band:long"]
    assert found.threshold.to_pylist()[0] == 3
    assert found.threshold.to_pylist()[-1] == 7
    assert found.value.to_pylist() == [2, 4, 4, 4, 5, 5, 7, 9]
    assert length_band.keep(rows(texts), LengthBandConfig(k=2)).keep.all()


def test_each_family_has_a_length_of_its_own_and_few_rows_have_none():
    texts = ["x" * 10] * 8 + ["x" * 100] * 8 + ["x", "x" * 1000] + [None]
    families = ["short"] * 8 + ["long"] * 8 + ["few", "few"] + [None]
    found = length_band.keep(rows(texts, families), LengthBandConfig(k=0.5))
    assert found.reason.to_pylist() == [None] * 18 + ["length_band:unknown"]
    together = length_band.keep(rows(texts[:18], families[:18]), LengthBandConfig(k=0.5, scope="all"))
    assert together.reason.to_pylist()[-1] == "length_band:long"


def test_the_order_of_rows_decides_nothing():
    texts = ["x" * n for n in (1, 30, 8, 9, 10, 11, 9, 8, 10)]
    reasons = length_band.keep(rows(texts), LengthBandConfig(k=1)).reason.to_pylist()
    assert length_band.keep(rows(texts[::-1]), LengthBandConfig(k=1)).reason.to_pylist() == reasons[::-1]
