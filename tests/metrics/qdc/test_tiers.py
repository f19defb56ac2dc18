"""The tiers: collapse shows in every headline, halves of one dataset do not differ, any odd set has numbers or none."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from ratoon.errors import DataError
from ratoon.metrics.embeddings.clusters import fit_codebook
from ratoon.metrics.qdc import tiers
from ratoon.metrics.qdc.tiers import TierConfig
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.stats.measures import Measure, compare

CONFIG = TierConfig(draws=8)
RISING = {"compression_gzip", "compression_zstd", "self_repetition"}
HEADLINES = (
    "vendi",
    "rke",
    "clusters",
    "knn5_distance",
    "compression_gzip",
    "compression_zstd",
    "self_repetition",
    "distinct_3",
)


def planted(f: float, n: int = 400, seed: int = 0) -> tuple[pa.Array, NDArray[np.float64]]:
    """Texts and vectors of which a share `f` are variants of ten."""
    random = np.random.default_rng(seed)
    topics = random.normal(size=(60, 48))
    rows = topics[random.integers(0, 60, n)] + random.normal(0, 0.9, (n, 48))
    words = random.integers(0, 3000, (n, 30))
    copies = np.flatnonzero(random.random(n) < f)
    source = random.integers(0, 10, len(copies))
    rows[copies] = rows[source] + random.normal(0, 0.35, (len(copies), 48))
    words[copies] = words[source]
    changed = random.random((len(copies), 30)) < 0.1
    words[copies] = np.where(changed, random.integers(0, 3000, (len(copies), 30)), words[copies])
    return pa.array([" ".join(f"w{w}" for w in row) for row in words]), rows


def headlines(texts: pa.Array, rows: NDArray[Any], book: Any, seed: int = 0) -> dict[str, Measure]:
    tasks = list(range(len(rows)))
    found = tiers.words(texts, tasks, CONFIG, seed)
    found += tiers.meaning(rows, tasks, book, "model", CONFIG, seed, "")
    return {m.metric.removeprefix("diversity."): m for m in found}


def test_every_headline_is_monotone_in_a_planted_collapse() -> None:
    book = fit_codebook(planted(0.0)[1], 40)
    sweep = [headlines(*planted(f), book) for f in (0.0, 0.25, 0.5, 0.75, 0.9)]
    for name in HEADLINES:
        values = [found[name].value or 0.0 for found in sweep]
        sign = 1 if name in RISING else -1
        assert all(sign * (b - a) > 0 for a, b in pairwise(values)), (name, values)


def test_halves_of_one_dataset_do_not_differ() -> None:
    alarms, seeds = dict.fromkeys(HEADLINES, 0), 10
    texts, rows = planted(0.0, 800, seed=5)
    book = fit_codebook(rows, 40)
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(800)
        a, b = (headlines(texts.take(pa.array(half)), rows[half], book, seed) for half in (order[:400], order[400:]))
        for name in HEADLINES:
            difference = compare(a[name], b[name])
            alarms[name] += not difference.lo <= 0 <= difference.hi
    assert max(alarms.values()) <= 3, alarms
    assert sum(alarms.values()) <= 0.05 * seeds * len(HEADLINES), alarms


def test_a_sample_is_of_whole_tasks_and_heeds_no_order() -> None:
    tasks = pa.array([f"t{i // 4}" for i in range(80)])
    chosen = tiers.sample_of(tasks, 20, 1)
    assert chosen.sum() == 20
    assert all(len(set(part)) == 1 for part in chosen.reshape(-1, 4).tolist())
    again = tiers.sample_of(tasks.take(pa.array(range(79, -1, -1))), 20, 1)
    assert (again[::-1] == chosen).all()
    assert tiers.sample_of(tasks, 1000, 1).all()
    assert tiers.sample_of(tasks, 1, 1).sum() == 4, "at least one task"
    assert not len(tiers.sample_of(tasks[:0], 5, 1))


def rows(n: int) -> pa.Table:
    return pa.table(
        {"task_id": [f"t{i // 2}" for i in range(n)], "chars": pa.array(range(n), pa.int64()), "refusal": [False] * n,
         "echo": pa.array([None] * n, pa.float64()), "finish_reason": ["length", "stop"] * (n // 2)}
    )  # fmt: skip


def test_cheap_numbers_come_from_sums_and_the_unknown_has_no_row() -> None:
    merged = sketches.merge(tiers.sketch(rows(6)) + tiers.sketch(rows(4)))
    found = {m.metric: m for m in tiers.cheap(merged, {"unit": "rollout"})}
    assert (found["complexity.chars"].value, found["complexity.chars"].n) == (2.1, 10)
    assert found["quality.truncated"].value == 0.5
    assert found["quality.refusal"].value == 0
    assert "quality.echo" not in found
    assert tiers.cheap([], {}) == []
    with pytest.raises(DataError, match="task_id"):
        tiers.sketch(pa.table({"chars": [1]}))


def groups(passed: list[int], valid: list[int]) -> pa.Table:
    rate = [p / v if v else None for p, v in zip(passed, valid, strict=True)]
    none = pa.nulls(len(passed), pa.float64())
    return pa.table({"n_passed": passed, "n_valid": valid, "pass_rate": pa.array(rate, pa.float64()),
                     "vote_share": none, "vote_margin": none, "entropy": none})  # fmt: skip


def test_a_measured_verifier_corrects_the_pass_rate_and_a_useless_one_does_not() -> None:
    table, keys = groups([4, 2, 0, 0], [4, 4, 4, 0]), ["a", "b", "c", "d"]
    good = {m.metric: m for m in tiers.groups(table, keys, Estimate(0.1, 0.05, 0.15, 200), Estimate(0.1, 0.05, 0.15, 200), 0)}
    assert good["quality.pass_rate_corrected"].value == pytest.approx((0.5 - 0.1) / 0.8)
    assert (good["quality.all_right"].value, good["quality.all_right"].n) == (pytest.approx(1 / 3), 3)
    bad = {m.metric for m in tiers.groups(table, keys, Estimate(0.5, 0.4, 0.6, 200), Estimate(0.5, 0.4, 0.6, 200), 0)}
    assert "quality.pass_rate" in bad
    assert "quality.pass_rate_corrected" not in bad


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_rows_have_numbers_or_none(n: int) -> None:
    book = fit_codebook(np.eye(4), 4)
    vectors, tasks = np.eye(4)[[0, 1, 1]][:n], list(range(n))
    for found in (
        tiers.words(pa.array(["one two", None, "one two"][:n], pa.string()), tasks, CONFIG, 0),
        tiers.meaning(vectors, tasks, book, "m", CONFIG, 0, "") if n else [],
        tiers.split(vectors, tasks, "m", CONFIG, 0) if n else [],
        tiers.qd(vectors, np.ones(n), np.full(n, np.nan), tasks, book, "m", CONFIG, 0) if n else [],
        tiers.novelty(vectors, np.zeros((0, 4)), "m", 0) if n else [],
        tiers.labels("families", pa.array(["a", None, "b"][:n], pa.string())),
    ):
        assert all(m.value is not None and np.isfinite(m.value) for m in found)


def test_identical_rows_are_one() -> None:
    book, vectors = fit_codebook(np.eye(4), 4), np.tile(np.eye(4)[:1], (40, 1))
    found = {m.metric: m.value for m in tiers.meaning(vectors, list(range(40)), book, "m", CONFIG, 0, "")}
    for name in ("vendi", "rke", "clusters", "vendi_whole"):
        assert found[f"diversity.{name}"] == pytest.approx(1)
    assert found["diversity.neighbour_0.99"] == 1


def test_new_regions_are_new_and_old_ones_are_not() -> None:
    found = {m.metric: m.value for m in tiers.novelty(np.eye(4)[:2], np.eye(4)[:1], "m", 1)}
    assert found == {"diversity.novelty": 0.5, "diversity.seen_before": 0.5}


def test_quality_and_diversity_meet_in_cells() -> None:
    book = fit_codebook(np.eye(4), 4)
    vectors, tasks = np.tile(np.eye(4), (10, 1)), list(range(40))
    found = {m.metric: m for m in tiers.qd(vectors, np.ones(40), np.full(40, 0.5), tasks, book, "m", CONFIG, 0)}
    assert found["qd.coverage"].value == pytest.approx(4 / 20)
    assert found["qd.score"].value == pytest.approx(4)
