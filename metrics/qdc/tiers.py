"""What a set of rollouts is made of, by cost: cheap (counts, all rows), medium (embeddings of a sample). Numbers only.

Cheap numbers of rows come from stored sketches, so they are exact for any union of shards; word diversity and everything
medium is of a sample of whole tasks chosen by hash of their ids, whose size is each measure's `n`. What costs a model call
(a judge, IFD, a reward) is no tier of its own accord: `metrics/quality.judged` and `metrics/complexity.ifd` wait to be asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from ratoon.columns import codes_of, numbers
from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.metrics.embeddings import clusters, neighbours, spectrum
from ratoon.metrics.embeddings.embed import EmbeddingConfig
from ratoon.metrics.qdc import complexity, quality
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.estimators import Estimate, within
from ratoon.metrics.stats.measures import Measure, of_estimate, of_value
from ratoon.metrics.stats.sketches import Sketch
from ratoon.metrics.text import lexical_diversity as lexical
from ratoon.metrics.text import lint

VERSION = "1"
LEXICAL_ROWS = 4_000
_RATES = ("empty", "refusal", "leaked", "truncated")
_SHARES = ("echo", "top_2", "top_3", "top_4", "dup_5", "dup_10", "dup_line_share", "alpha_share", "script_share")
_COUNTS = ("sentences", "blocks", "equations", "operators", "operator_kinds", "steps", "verification", "backtracking",
           "subgoals", "backward_chaining")  # fmt: skip
_SIZES = ("chars", "words", "n_tokens", "lines")
_BANDS = 5


class TierConfig(Config):
    """What is measured of each round's rollouts and of what was kept."""

    tier: Literal["cheap", "medium"] = Field("cheap", description="cheap needs no model; medium embeds a sample")
    sample: int = Field(
        5000, ge=2, description="rollouts embedded in a round, whole tasks chosen by hash; all where there are fewer"
    )
    chars: int = Field(
        400, ge=1, description="texts are cut to so many characters before words are counted: long ones look alike"
    )
    sigma: float = Field(spectrum.SIGMA, gt=0, description="bandwidth of the RBF kernel on unit vectors")
    clusters: int = Field(100, ge=1, description="regions of the map that the first measured round freezes")
    draws: int = Field(20, ge=2, description="subsamples behind each interval")
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), description="the embedding model of the medium tier")


def sketch(rows: pa.Table) -> list[Sketch]:
    """Sums over rollouts: lint and structure columns as table `lint` has them, n_tokens, finish_reason, task_id.

    A column that is not there is not summed. All rollouts of a task must be in one call, or count as several tasks.
    Raises DataError without task_id.
    """
    if "task_id" not in rows.column_names:
        raise DataError("column 'task_id' is missing", f"the rows have {rows.column_names}")
    at = codes_of(rows["task_id"], null_is_a_value=True)
    columns = {name: numbers(rows[name]) for name in (*_RATES[:3], *_SHARES, *_COUNTS, *_SIZES) if name in rows.column_names}
    if "finish_reason" in rows.column_names:
        columns["truncated"] = numbers(pc.equal(rows["finish_reason"], "length"))
    sums = [sketches.mean_of(name, values, at) for name, values in columns.items()]
    return sums + [sketches.histogram(name, columns[name]) for name in (*_SIZES, "steps") if name in columns]


def cheap(merged: Sequence[Sketch], params: dict[str, Any]) -> list[Measure]:
    """Measures of a set from its merged sketches; `params` says what the numbers must share to compare."""
    by_name = {one.name: one for one in merged}
    measures: list[Measure] = []
    for name in (*_RATES, *_SHARES, *_COUNTS, *_SIZES):
        one = by_name.get(f"mean.{name}")
        if one is not None:
            prefix = "complexity" if name in (*_COUNTS, *_SIZES) else "quality"
            version = complexity.VERSION if name in _COUNTS else lint.VERSION
            measures += of_estimate(f"{prefix}.{name}", version, _mean(name, one), params)
    for name in ("n_tokens", "chars"):
        if (one := by_name.get(f"hist.{name}")) is not None:
            for q in (0.5, 0.95):
                measures += of_value(
                    f"complexity.{name}_p{round(100 * q)}", sketches.VERSION, sketches.quantile(one, q), one.n, params
                )
    text = by_name.get("kmv.text")
    if text is not None and text.n:
        measures += of_value(
            "diversity.duplicates", sketches.VERSION, max(0.0, 1 - sketches.unlike(text) / text.n), text.n, params
        )
    return measures


def _mean(name: str, one: Sketch) -> Estimate | None:
    """A mean whose interval holds no count under 0 and no share over 1."""
    return sketches.mean(one, name in _RATES, low=0.0, high=1.0 if name in (*_RATES, *_SHARES) else math.inf)


def groups(rows: pa.Table, keys: Sequence[Any], fpr: Estimate | None, fnr: Estimate | None, seed: int) -> list[Measure]:
    """Measures of table `groups` (one scorer) whose problem keys are `keys`; a measured verifier corrects the rate."""
    params = {"unit": "group"}
    observed = quality.pass_rate(rows, keys, seed=seed)
    measures = of_estimate("quality.pass_rate", quality.VERSION, observed, params, seed)
    if observed is not None and fpr is not None and fnr is not None:
        tpr = Estimate(1 - fnr.value, 1 - fnr.hi, 1 - fnr.lo, fnr.n)
        if tpr.lo > fpr.hi:  # else the verifier tells right from wrong no better than chance, and nothing can be said
            corrected = quality.corrected_pass_rate(observed, fpr, tpr)
            measures += of_estimate("quality.pass_rate_corrected", quality.VERSION, corrected, params, seed)
    measures += of_estimate(
        "complexity.difficulty", complexity.VERSION, complexity.difficulty(rows, keys, seed=seed), params, seed
    )
    rate = numbers(rows["pass_rate"])
    known = rate[~np.isnan(rate)]
    measures += of_value("complexity.learnability", complexity.VERSION, complexity.learnability(rows), len(known), params)
    at = np.arange(len(rate))
    for name, values in (("all_right", rate == 1), ("all_wrong", rate == 0)):
        column = np.where(np.isnan(rate), np.nan, values)
        measures += of_estimate(f"quality.{name}", VERSION, sketches.mean(sketches.mean_of(name, column, at), True), params)
    for name in ("vote_share", "vote_margin", "entropy"):
        one = sketches.mean_of(name, numbers(rows[name]), at)
        measures += of_estimate(f"consensus.{name}", VERSION, sketches.mean(one), params)
    return measures


def near_duplicates(edges: pa.Table, rollout_ids: pa.ChunkedArray, version: str) -> list[Measure]:
    """The share of rollouts that are near-duplicates of another rollout, this round's or an earlier one's, by stored edges."""
    ends = pa.concat_arrays([edges[end].combine_chunks().cast(pa.string()) for end in ("a_id", "b_id")])
    n = len(rollout_ids)
    twins = pc.sum(pc.is_in(rollout_ids, value_set=pc.unique(ends))).as_py() or 0
    return of_value("diversity.near_duplicates", VERSION, twins / n if n else None, n, {"edges": version})


def labels(name: str, values: pa.ChunkedArray | pa.Array) -> list[Measure]:
    """How rows spread over labels (families, tags): effective number, mass not seen yet, Chao's bound."""
    counts = [c["counts"] for c in pc.value_counts(values.drop_null()).to_pylist()]
    n, params = sum(counts), {"labels": name}
    return [
        *of_value(f"diversity.{name}", clusters.VERSION, clusters.effective_clusters(counts), n, params),
        *of_value(f"diversity.{name}_unseen", clusters.VERSION, clusters.unseen_mass(counts), n, params),
        *of_value(f"diversity.{name}_chao1", clusters.VERSION, clusters.chao1(counts), n, params),
    ]


def words(texts: pa.Array, tasks: Sequence[Any], config: TierConfig, seed: int, size: int | None = None) -> list[Measure]:
    """Diversity of words of a sample of texts: at a fixed number of texts, each cut to `config.chars`, resampled by task.

    `size` is that number where it must be another set's too; else `spectrum.sample_size` of what there is.
    """
    there = np.flatnonzero(np.asarray(pc.is_valid(texts)))
    if len(there) < 2:
        return []
    cut = lexical.cut(texts, config.chars)
    keys = [tasks[i] for i in there]
    measures: list[Measure] = []
    statistics: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "compression_gzip": lambda rows: lexical.compression_ratio(cut.take(pa.array(rows))) or 1.0,
        "compression_zstd": lambda rows: lexical.compression_ratio(cut.take(pa.array(rows)), "zstd") or 1.0,
    }
    for n in (1, 2, 3, 4):
        grams, row = lexical.n_grams(cut, n)
        if len(grams):
            statistics[f"distinct_{n}"] = _of_grams(grams, row, len(cut), lambda some, at, rows: lexical.distinct_share(some))
            if n == 4:
                statistics["self_repetition"] = _of_grams(grams, row, len(cut), lexical.repetition_of)
    for name, statistic in statistics.items():
        estimate = spectrum.subsampled(statistic, keys, size=size, draws=config.draws, seed=seed, least=0.0)
        params = {"size": estimate.n, "chars": config.chars}
        measures += of_estimate(f"diversity.{name}", lexical.VERSION, estimate, params, seed)
    return measures


def _of_grams(
    grams: NDArray[np.uint64], row: NDArray[np.int64], n: int, statistic: Callable[..., float | None]
) -> Callable[[NDArray[np.int64]], float]:
    """Turn a statistic of n-grams into one of the texts that hold them."""

    def of_texts(rows: NDArray[np.int64]) -> float:
        place = np.full(n, -1)
        place[rows] = np.arange(len(rows))
        inside = place[row] >= 0
        return statistic(grams[inside], place[row[inside]], len(rows)) or 0.0

    return of_texts


def meaning(
    vectors: NDArray[Any],
    tasks: Sequence[Any],
    book: clusters.Codebook,
    model: str,
    config: TierConfig,
    seed: int,
    subject: str,
    size: int | None = None,
) -> list[Measure]:
    """Diversity of embedded texts: spectra, regions, neighbours; at fixed size, resampled by task; `subject` precedes names."""
    if len(vectors) < 2:
        return []
    rows = spectrum.unit_rows(vectors)
    region = clusters.assign(rows, book)
    embedded_by, prefix = {"model": model}, f"diversity.{subject}"
    rbf = {"kernel": "rbf", "sigma": config.sigma, "q": 2}
    kinds: list[tuple[str, dict[str, Any], Callable[[NDArray[np.int64]], float]]] = [
        ("vendi", {"kernel": "linear", "q": 1}, lambda at: spectrum.vendi_score(rows[at])),
        ("rke", rbf, lambda at: spectrum.rke(rows[at], sigma=config.sigma)),
        ("clusters", {"map": book.fingerprint}, lambda at: clusters.effective_clusters(np.bincount(region[at])) or 1.0),
        ("knn5_distance", {}, lambda at: neighbours.knn_distance(rows[at], min(5, len(at) - 1)) or 0.0),
    ]
    measures: list[Measure] = []
    size = max(2, spectrum.sample_size(len(rows))) if size is None else size
    for name, params, statistic in kinds:
        least = 0.0 if name == "knn5_distance" else 1.0  # one effective item, one region
        estimate = spectrum.subsampled(statistic, tasks, size=size, draws=config.draws, seed=seed, least=least)
        measures += of_estimate(f"{prefix}{name}", spectrum.VERSION, estimate, embedded_by | params | {"size": size}, seed)
    whole = spectrum.gram(rows)
    measures += of_value(
        f"{prefix}vendi_whole", spectrum.VERSION, whole.vendi(), len(rows), embedded_by | {"kernel": "linear", "q": 1}
    )
    measures += of_value(f"{prefix}pairwise_distance", spectrum.VERSION, whole.pairwise_distance(), len(rows), embedded_by)
    draw = np.random.default_rng(seed).choice(len(rows), size, replace=False)
    for cut, share in neighbours.neighbour_curve(rows[np.sort(draw)]):
        measures += of_value(f"{prefix}neighbour_{cut:g}", neighbours.VERSION, share, size, embedded_by | {"size": size})
    return measures


def split(
    vectors: NDArray[Any], tasks: Sequence[Any], model: str, config: TierConfig, seed: int, size: int | None = None
) -> list[Measure]:
    """Alpha, beta and gamma of rollouts by task, at a fixed number of tasks."""
    rows = spectrum.unit_rows(vectors)
    at = codes_of(pa.array(tasks), null_is_a_value=True)
    n = int(at.max(initial=-1)) + 1
    if n < 2:
        return []
    size = spectrum.sample_size(n) if size is None else size
    draws: list[spectrum.Split] = []

    def gamma(chosen: NDArray[np.int64]) -> float:
        mine = np.isin(at, chosen)
        draws.append(spectrum.alpha_beta_gamma(rows[mine], at[mine].tolist()))
        return draws[-1].gamma

    spectrum.subsampled(gamma, n, size=size, draws=config.draws, seed=seed)
    measures: list[Measure] = []
    for name in ("alpha", "beta", "gamma"):
        values = np.array([getattr(one, name) for one in draws])
        value, slack = float(values.mean()), 2.0 * float(values.std(ddof=1))
        params = {"model": model, "kernel": "linear", "tasks": size}
        estimate = Estimate(value, *within(value, slack, 1.0), size)
        measures += of_estimate(f"diversity.{name}", spectrum.VERSION, estimate, params, seed)
    return measures


def novelty(vectors: NDArray[Any], history: NDArray[Any], model: str, past: int) -> list[Measure]:
    """Median distance to the nearest of all that earlier rounds held, and the share that lies nearer than .1."""
    far = neighbours.novelty(vectors, history)
    far = far[~np.isnan(far)]
    if not len(far):
        return []
    params = {"model": model, "history": past}
    return [
        *of_value("diversity.novelty", neighbours.VERSION, float(np.median(far)), len(far), params),
        *of_value("diversity.seen_before", neighbours.VERSION, float((far < 0.1).mean()), len(far), params),
    ]


def qd(
    vectors: NDArray[Any], passed: NDArray[np.float64], pass_rate: NDArray[np.float64], tasks: Sequence[Any],
    book: clusters.Codebook, model: str, config: TierConfig, seed: int,
) -> list[Measure]:  # fmt: skip
    """QD-score and coverage over region × difficulty (five bands of pass rate), quality = verified; at fixed size."""
    known = np.flatnonzero(~np.isnan(passed) & ~np.isnan(pass_rate))
    if len(known) < 2:
        return []
    cells = len(book.centres) * _BANDS
    at = clusters.assign(vectors[known], book) * _BANDS + np.minimum((pass_rate[known] * _BANDS).astype(np.int64), _BANDS - 1)
    good, keys = passed[known], [tasks[i] for i in known]
    measures: list[Measure] = []
    for name in ("score", "coverage"):
        estimate = spectrum.subsampled(
            lambda rows, name=name: float(getattr(clusters.qd_score(at[rows], good[rows], cells), name)),  # type: ignore[misc]
            keys, draws=config.draws, seed=seed, least=0.0,
        )  # fmt: skip
        params = {"model": model, "map": book.fingerprint, "size": estimate.n, "cells": cells}
        measures += of_estimate(f"qd.{name}", clusters.VERSION, estimate, params, seed)
    return measures


def sample_of(task_ids: pa.ChunkedArray | pa.Array, most: int, seed: int) -> NDArray[np.bool_]:
    """Which rows are in the sample: whole tasks in the order of their hash, until `most` rows; at least one task."""
    at = codes_of(task_ids, null_is_a_value=True)
    n = int(at.max(initial=-1)) + 1
    if not n:
        return np.zeros(0, bool)
    names = pc.unique(task_ids).to_pylist()
    salt = str(seed).encode()[:16]
    order = sorted(range(n), key=lambda i: blake2b(str(names[i]).encode(), digest_size=8, salt=salt).digest())
    upto = np.cumsum(np.bincount(at, minlength=n)[order])
    chosen = np.zeros(n, bool)
    chosen[order[: max(1, int(np.searchsorted(upto, most, "right")))]] = True
    return chosen[at]
