"""Sketches: the union's sums are the sums of the union; means know their clusters; counts of unlike items hold."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.sketches import KEPT, Sketch, distinct, histogram, mean_of, merge, quantile, unlike
from ratoon.metrics.text.hashed_words import mixed
from ratoon.metrics.text.lexical_diversity import gram_sketches, text_sketch

VALUES = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=40)


@given(VALUES, st.integers(0, 40))
def test_merged_means_and_histograms_are_those_of_the_whole(values: list[float | None], cut: int) -> None:
    column = np.array([math.nan if v is None else v for v in values])
    clusters = np.arange(len(column))
    whole = [mean_of("x", column, clusters), histogram("x", column)]
    parts = [
        f for part in (column[:cut], column[cut:]) for f in (mean_of("x", part, np.arange(len(part))), histogram("x", part))
    ]
    for a, b in zip(merge(whole), merge(parts), strict=True):
        assert (a.name, a.n) == (b.name, b.n)
        assert a.values == pytest.approx(b.values, rel=1e-9, abs=1e-6)


def test_rows_of_one_task_are_no_independent_witnesses() -> None:
    random = np.random.default_rng(0)
    tasks = np.repeat(np.arange(100), 8)
    values = np.repeat(random.normal(size=100), 8)
    alike = sketches.mean(mean_of("x", values, tasks))
    apart = sketches.mean(mean_of("x", values, np.arange(800)))
    assert alike is not None
    assert apart is not None
    assert alike.value == apart.value
    assert (alike.hi - alike.lo) == pytest.approx((apart.hi - apart.lo) * math.sqrt(8), rel=0.02)


def test_a_mean_covers_what_it_estimates_in_nineteen_of_twenty_samples() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        sizes = random.integers(1, 9, 60)
        tasks = np.repeat(np.arange(60), sizes)
        values = random.normal(5, 1, 60)[tasks] + random.normal(0, 1, len(tasks))
        found = sketches.mean(mean_of("x", values, tasks))
        assert found is not None
        hits += found.lo <= 5 <= found.hi
    assert 0.91 <= hits / 400 <= 0.98


def test_unanimous_rates_and_single_tasks_say_how_little_they_know() -> None:
    never = sketches.mean(mean_of("x", np.zeros(80), np.repeat(np.arange(10), 8)), rate=True)
    assert never is not None
    assert (never.value, never.lo) == (0, 0)
    assert never.hi == pytest.approx(0.2775, abs=1e-3), "of ten tasks, not eighty rows"
    one = sketches.mean(mean_of("x", np.array([1.0, 0.0]), np.zeros(2, np.int64)), rate=True)
    assert one is not None
    assert (one.lo, one.hi) == (0, 1)
    assert sketches.mean(mean_of("x", np.array([math.nan]), np.zeros(1, np.int64))) is None


@pytest.mark.parametrize("n", [0, 1, 300, KEPT, 5000, 60_000])
def test_unlike_items_are_counted_within_the_sketchs_error_in_any_split(n: int) -> None:
    hashes = mixed(np.arange(n, dtype=np.uint64))
    twice = np.concatenate([hashes, hashes])
    whole = distinct("x", twice)
    assert whole.n == 2 * n
    assert unlike(whole) == (n if n < KEPT else pytest.approx(n, rel=0.2))
    (merged,) = merge(distinct("x", part) for part in np.array_split(twice, 7))
    assert merged.values.tolist() == whole.values.tolist()


def test_quantiles_of_histograms() -> None:
    values = np.arange(1000, dtype=np.float64)
    assert quantile(histogram("x", values), 0.5) == pytest.approx(500, rel=0.05)
    assert quantile(histogram("x", values), 1.0) == pytest.approx(999, rel=0.2)
    assert quantile(histogram("x", values[:0]), 0.5) is None


def test_unlike_sketches_have_no_union() -> None:
    with pytest.raises(DataError, match="unlike make"):
        merge([Sketch("gram.x", 1, np.ones(3), "a"), Sketch("gram.x", 1, np.ones(3), "b")])
    with pytest.raises(DataError, match="unlike length"):
        merge([Sketch("hist.x", 1, np.ones(3)), Sketch("hist.x", 1, np.ones(4))])


def test_n_grams_and_texts_are_counted_once_however_they_are_split() -> None:
    texts = ["a b c", "a b d", "a b c", ""]
    by_name = {s.name: s for s in gram_sketches(texts)}
    assert (by_name["kmv.gram_1"].n, unlike(by_name["kmv.gram_1"])) == (9, 4)
    assert (by_name["kmv.gram_2"].n, unlike(by_name["kmv.gram_2"])) == (6, 3)
    assert unlike(text_sketch(texts)) == 3
    assert text_sketch([]).n == 0
    parts = merge([*gram_sketches(texts[:1]), *gram_sketches(texts[1:])])
    assert [(s.name, s.n, s.values.tolist()) for s in parts] == [
        (s.name, s.n, s.values.tolist()) for s in merge(gram_sketches(texts))
    ]


def test_a_table_of_sketches_is_read_back_and_another_versions_is_refused() -> None:
    made = [mean_of("x", np.arange(4.0), np.arange(4)), distinct("y", mixed(np.arange(9, dtype=np.uint64)), "print")]
    table = sketches.table(made, "shard", "train-0001", 1)
    for a, b in zip(made, sketches.read(table), strict=True):
        assert (a.name, a.n, a.values.tolist(), a.fingerprint) == (b.name, b.n, b.values.tolist(), b.fingerprint)
    old = pa.array(["0"] * table.num_rows)
    with pytest.raises(DataError, match="version"):
        sketches.read(table.set_column(table.schema.get_field_index("version"), "version", old))
