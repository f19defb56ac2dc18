"""Signatures estimate the Jaccard within their error, and bands meet as often as the formula says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ratoon.metrics.text.minhash import MinHashConfig, edge_version, estimate, sign, version


def overlapping(share: float, n: int, seed: int = 0) -> tuple[pa.Array, pa.Array]:
    """n pairs of texts of 100 distinct one-word shingles in all, of which `share` are in both."""
    rng = np.random.default_rng(seed)
    left, right, both = [], [], round(100 * share)
    for _ in range(n):
        words = [f"w{i}" for i in rng.choice(1_000_000, 100, replace=False)]
        half = both + (100 - both) // 2
        left.append(" ".join(words[:half]))
        right.append(" ".join(words[:both] + words[half:]))
    return pa.array(left), pa.array(right)


def test_the_estimate_is_within_its_error_of_the_known_jaccard() -> None:
    config = MinHashConfig(size=1, bands=32, rows=8)
    first = pa.array([" ".join(f"w{i}" for i in range(80)), " ".join(f"w{i}" for i in range(20, 100))])
    a, b = estimate(first, config)
    assert abs((a == b).mean() - 0.6) <= 3 * 0.031
    for share in (0.2, 0.5, 0.9):
        left, right = (estimate(texts, config) for texts in overlapping(share, 200))
        error = np.sqrt(share * (1 - share) / 256)
        found = (left == right).mean(axis=1)
        assert abs(found.mean() - share) <= 4 * error / np.sqrt(200)
        assert found.std() <= 1.3 * error


def test_two_texts_share_a_band_as_often_as_the_formula_says() -> None:
    config = MinHashConfig(size=1)
    for share in (0.5, 0.7, 0.8):
        left, right = (sign(texts, config)[0].bands for texts in overlapping(share, 1000))
        wanted = 1 - (1 - share**config.rows) ** config.bands
        assert abs((left == right).any(axis=1).mean() - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / 1000)


def test_the_order_of_words_matters_only_beyond_one_word_shingles() -> None:
    texts = pa.array(["a b c d e f", "f e d c b a"])
    one, five = sign(texts, MinHashConfig(size=1))[0], sign(texts, MinHashConfig(size=5))[0]
    assert one.sets[0] == one.sets[1]
    assert five.sets[0] != five.sets[1]


def test_unlike_settings_have_unlike_versions_and_speed_has_none() -> None:
    base = MinHashConfig()
    assert len({version(base), version(MinHashConfig(seed=1)), version(MinHashConfig(size=3))}) == 3
    assert version(base) == version(MinHashConfig(block=7)) == version(MinHashConfig(floor=0.7))
    assert edge_version(base) != edge_version(MinHashConfig(floor=0.7))


def test_signatures_stay_what_they_were() -> None:
    found = sign(pa.array(["the quick brown fox jumps over the lazy dog"]), MinHashConfig(bands=14))[0]
    assert (int(found.bands[0, 0]), int(found.sets[0])) == (1390045594, 12101856380326594754)
