"""What embeddings of a sample say of one side or two: diversity at equal n, a frozen map, drift, what is new and what is lost.

Both sides are cut to one number of rows, and compared at one size. The map is fitted on the older side and only looked up on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.errors import MissingExtra, ModelError
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.embeddings import neighbours, spectrum
from ratoon.metrics.qdc import tiers
from ratoon.metrics.report import Drift as DriftSection
from ratoon.metrics.report import NotComputed, Occupancy, RegionRow, Test, drift
from ratoon.metrics.report import region_map as regions
from ratoon.metrics.report.frame import text_of
from ratoon.metrics.report.region_map import Regions
from ratoon.metrics.stats.calibration import rate
from ratoon.metrics.stats.measures import Measure, of_estimate
from ratoon.metrics.stats.sketches import mean, mean_of
from ratoon.pipelines.audit.check import VERSION, by_name, gap
from ratoon.pipelines.audit.row_flags import Known
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

_LEAST = 20  # rows under which nothing is said of a side's meaning
_TOLD = 20
_CUT_ROWS = 1_000
_MMD_ROWS = 500


class Placed(NamedTuple):
    """A side's embedded rows: their numbers, vectors, coordinates, regions, nearest on their own side, novelty (NaN: none)."""

    at: NDArray[np.int64]
    vectors: NDArray[np.float32]
    xy: NDArray[np.float64]
    region: NDArray[np.int64]
    nearest: NDArray[np.float64]
    novelty: NDArray[np.float64]


class Meaning(NamedTuple):
    """Numbers by side, placed rows by side, the map, and what was not computed."""

    now: dict[str, Measure]
    was: dict[str, Measure]
    placed: list[Placed]
    regions: Regions | None
    gaps: list[NotComputed]


def words(sides: list[tuple[Side, Known]], config: AuditConfig) -> list[dict[str, Measure]]:
    """Diversity of words of each side, at one number of texts."""
    most = min((len(known.lexical) for _, known in sides), default=0)
    if most < 2:
        return [{} for _ in sides]
    size = spectrum.sample_size(most) if most > 3 else 1
    measures = []
    for side, known in sides:
        at = pa.array(_cut(known.lexical, most, config.seed))
        texts, tasks = text_of(side.rows).take(at).combine_chunks(), side.rows["task_id"].take(at).to_pylist()
        measures.append(by_name(tiers.words(texts, tasks, _tier(config), config.seed, size)))
    return measures


def _tier(config: AuditConfig) -> tiers.TierConfig:
    return config.measure.model_copy(update={"draws": config.draws})


def _cut(at: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    if len(at) <= most:
        return at
    return np.sort(np.random.default_rng(seed).choice(at, most, replace=False))


def meaning(sides: list[tuple[Side, Known]], config: AuditConfig) -> Meaning:
    """All of it, or why not: the cheap tier, too few rows, no model."""
    empty = Meaning({}, {}, [], None, [])
    if config.tier == "cheap":
        return _none(empty, "the tier is cheap", "--set tier=medium")
    samples = [_sampled(side, config.sample, config.seed) for side, _ in sides]
    if len(samples[0]) < _LEAST:
        return _none(empty, f"{len(samples[0])} rows with a text are fewer than {_LEAST}", "audit more rows")
    if len(samples) > 1 and len(samples[1]) < _LEAST:
        sides, samples = sides[:1], samples[:1]
    most = min(map(len, samples))
    samples = [_cut(at, most, config.seed) for at in samples]
    try:
        embedded = [_embedded(side, at, config) for (side, _), at in zip(sides, samples, strict=True)]
    except (MissingExtra, ModelError) as error:
        return _none(empty, error.message, error.hint)
    return _measured(embedded, config)


def _none(empty: Meaning, why: str, mend: str) -> Meaning:
    return empty._replace(gaps=[gap("map, drift, diversity of meaning", why, mend)])


def _sampled(side: Side, most: int, seed: int) -> NDArray[np.int64]:
    text = text_of(side.rows)
    there = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), False))
    at = np.flatnonzero(tiers.sample_of(side.rows["task_id"], most, seed) & there)
    return _cut(at, most, seed)


class _Embedded(NamedTuple):
    """The sampled rows of one side (positions), their texts, tasks and vectors."""

    side: Side
    at: NDArray[np.int64]
    texts: list[str]
    tasks: list[str]
    vectors: NDArray[np.float32]


def _embedded(side: Side, at: NDArray[np.int64], config: AuditConfig) -> _Embedded:
    positions = pa.array(at)
    texts = text_of(side.rows).take(positions).to_pylist()
    tasks = side.rows["task_id"].take(positions).to_pylist()
    return _Embedded(side, at, texts, tasks, _vectors(texts, config))


def _vectors(texts: list[str], config: AuditConfig) -> NDArray[np.float32]:
    return np.asarray(embeddings.embed(texts, config.measure.embedding))


def _measured(sides: Sequence[_Embedded], config: AuditConfig) -> Meaning:
    """Numbers, places and drift of one or two sides; the map is fitted on the last: what there was before."""
    fitted = regions.fit(sides[-1].vectors, sides[-1].texts, config.clusters, config.seed)
    placed = _placed(sides, fitted)
    levels = _levels(sides, config)
    by_side = [
        by_name([*replies, *prompts, *split, _largest_region(own, fitted)])
        for replies, prompts, split, own in zip(
            _replies(sides, fitted, config),
            _prompts(sides, fitted, config),
            levels or [[] for _ in sides],
            placed,
            strict=True,
        )
    ]
    both = _drift(sides, placed, fitted, config) if len(sides) > 1 else []
    now = by_side[0] | by_name([*both, _cut_texts(sides[0], config)])
    gaps = [] if levels else [gap("alpha, beta, gamma", "most tasks have one row", "audit several replies a task")]
    return Meaning(now, by_side[1] if len(by_side) > 1 else {}, placed, fitted, gaps)


def _replies(sides: Sequence[_Embedded], fitted: Regions, config: AuditConfig) -> list[list[Measure]]:
    """The diversity of each side's replies, at one number of rows."""
    size, model = max(2, spectrum.sample_size(len(sides[0].at))), embeddings.fingerprint(config.measure.embedding)
    return [tiers.meaning(one.vectors, one.tasks, fitted.book, model, _tier(config), config.seed, "", size) for one in sides]


def _prompts(sides: Sequence[_Embedded], fitted: Regions, config: AuditConfig) -> list[list[Measure]]:
    """The diversity of each side's prompts, at one number of tasks; empty where a side has too few beside its replies."""
    texts = [_prompt_of_each_task(one.side, config) for one in sides]
    most = min(map(len, texts))
    if most < _LEAST:
        return [[] for _ in sides]
    size, model = max(2, spectrum.sample_size(most)), embeddings.fingerprint(config.measure.embedding)
    measures = []
    for prompts in texts:
        chosen = [prompts[i] for i in _cut(np.arange(len(prompts)), most, config.seed)]
        vectors, tasks = _vectors(chosen, config), list(range(most))
        measures.append(tiers.meaning(vectors, tasks, fitted.book, model, _tier(config), config.seed, "task_", size))
    return measures


def _prompt_of_each_task(side: Side, config: AuditConfig) -> list[str]:
    """One prompt a task, in the order of tasks; none where prompts are all there is."""
    if side.rows["completion"].null_count == side.rows.num_rows:
        return []
    rows = side.rows.take(pa.array(_sampled(side, config.prompts, config.seed))).select(["task_id", "prompt"])
    rows = rows.filter(pc.is_valid(rows["prompt"]))
    first = dict(zip(reversed(rows["task_id"].to_pylist()), reversed(rows["prompt"].to_pylist()), strict=True))
    return [first[task] for task in sorted(first) if first[task].strip()][: config.prompts]


def _levels(sides: Sequence[_Embedded], config: AuditConfig) -> list[list[Measure]] | None:
    """Alpha, beta and gamma of each side at one number of tasks; None where most tasks have one row."""
    n_tasks = [len(set(one.tasks)) for one in sides]
    if min(n_tasks) < 4 or any(len(one.at) < 1.5 * n for one, n in zip(sides, n_tasks, strict=True)):
        return None
    size, model = spectrum.sample_size(min(n_tasks)), embeddings.fingerprint(config.measure.embedding)
    return [tiers.split(one.vectors, one.tasks, model, _tier(config), config.seed, size) for one in sides]


def _placed(sides: Sequence[_Embedded], fitted: Regions) -> list[Placed]:
    """Each side on the map, with its neighbours; novelty is against the other side."""
    placed = []
    for one, other in zip(sides, reversed(sides), strict=True):
        xy, region = regions.place(fitted, one.vectors)
        nearest = neighbours.nearest(one.vectors)
        alone = other is one
        novelty = np.full(len(nearest), np.nan) if alone else neighbours.novelty(one.vectors, other.vectors)
        placed.append(Placed(one.at, one.vectors, xy, region, nearest, novelty))
    return placed


def _largest_region(placed: Placed, fitted: Regions) -> Measure:
    """The share of the region that holds most rows; the note says which one."""
    counts = np.bincount(placed.region, minlength=len(fitted.labels))
    top = int(counts.argmax())
    share = rate(int(counts[top]), len(placed.region))
    note = {"cluster": top, "label": fitted.labels[top], "clusters": len(fitted.labels)}
    params = {"map": fitted.book.fingerprint}
    return Measure(
        "diversity.largest_cluster",
        VERSION,
        share.value,
        share.n,
        share.lo,
        share.hi,
        params=params,
        note=note,
    )


def _drift(sides: Sequence[_Embedded], placed: Sequence[Placed], fitted: Regions, config: AuditConfig) -> list[Measure]:
    """The tests between the two sides, as numbers."""
    params: dict[str, Any] = {"model": embeddings.fingerprint(config.measure.embedding)}
    rows = [_cut(np.arange(len(p.at)), drift.MOST, config.seed) for p in placed]
    now, was = (one.vectors[at] for one, at in zip(sides, rows, strict=True))
    tasks = [one.tasks[i] for one, at in zip(sides, rows, strict=True) for i in at]
    auc = drift.two_sample(now, was, tasks, seed=config.seed)
    measures = [*of_estimate("drift.auc", drift.VERSION, auc, params, config.seed)]
    mmd = drift.mmd2(now[:_MMD_ROWS], was[:_MMD_ROWS], sigma=config.measure.sigma, seed=config.seed)
    if mmd is not None:
        measures.append(Measure("drift.mmd2", drift.VERSION, mmd.value, mmd.n, params=params, note={"p": mmd.p}))
    counts = [np.bincount(p.region, minlength=len(fitted.labels)).astype(float) for p in placed]
    measures += _psi("drift.region_psi", drift.psi(*counts), int(min(c.sum() for c in counts)))
    far = placed[0].novelty
    median = float(np.median(far))
    measures.append(Measure("diversity.novelty_against", neighbours.VERSION, median, len(far), params=params))
    return measures


def _psi(name: str, value: float | None, n: int) -> list[Measure]:
    return [] if value is None else [Measure(name, drift.VERSION, value, n)]


def _cut_texts(one: _Embedded, config: AuditConfig) -> Measure:
    """The share of texts that the model does not see to their end."""
    model = config.measure.embedding
    at = _cut(one.at, _CUT_ROWS, config.seed)
    texts = text_of(one.side.rows).take(pa.array(at)).to_pylist()
    too_long = embeddings.n_tokens(texts, model) > model.max_tokens
    share = rate(int(too_long.sum()), len(too_long))
    params = {"most": model.max_tokens}
    return Measure("embedding.cut", VERSION, share.value, share.n, share.lo, share.hi, params=params)


def lengths(now: Known, was: Known) -> dict[str, Measure]:
    """How far the lengths of the sides lie apart, in tenths of the other side; empty under 50 rows of either."""
    words = [numbers(side.table["words"]) for side in (now, was)]
    words = [counts[~np.isnan(counts)] for counts in words]
    if min(map(len, words)) < 50:
        return {}
    return by_name(_psi("drift.length_psi", drift.psi(*drift.by_quantiles(words[0], words[1])), min(map(len, words))))


def section(meaning: Meaning, sides: list[tuple[Side, Known]]) -> DriftSection | None:
    """The drift section; None without two placed sides."""
    if len(meaning.placed) < 2 or meaning.regions is None:
        return None
    now, was = meaning.placed
    k = len(meaning.regions.labels)
    share = [np.bincount(p.region, minlength=k) / len(p.region) for p in (now, was)]
    rows: list[Occupancy] = [
        {"cluster": i, "label": meaning.regions.labels[i], "now": float(share[0][i]), "was": float(share[1][i])}
        for i in range(k)
    ]
    tests: list[Test] = []
    units = {"drift.auc": "auc", "drift.mmd2": "mmd2", "drift.region_psi": "psi", "drift.length_psi": "psi"}
    for name, unit in units.items():
        if (m := meaning.now.get(name)) is not None and m.value is not None:
            tests.append({"name": name, "value": m.value, "lo": m.lo, "hi": m.hi, "p": m.note.get("p"), "n": m.n, "unit": unit})
    lost, new = drift.gone(was.vectors, now.vectors, _TOLD), drift.gone(now.vectors, was.vectors, _TOLD)
    return {
        "clusters": rows, "tests": tests, "lost": _gone(lost, was, sides[1][0]), "new": _gone(new, now, sides[0][0]),
        "lost_share": lost.share if lost else None, "new_share": new.share if new else None,
    }  # fmt: skip


def _gone(gone: drift.Gone | None, placed: Placed, side: Side) -> list[RegionRow]:
    if gone is None:
        return []
    at = pa.array(placed.at[np.array(gone.rows, np.int64)])
    ids, texts = side.rows["row_id"].take(at).to_pylist(), text_of(side.rows).take(at).to_pylist()
    return [
        {"row_id": i, "text": (t or "")[:400], "similarity": s} for i, t, s in zip(ids, texts, gone.similarity, strict=True)
    ]


def selection(side: Side, placed: Placed, config: AuditConfig) -> dict[str, Measure]:
    """Quality and diversity of what was kept beside as many sampled rows at random, at one size."""
    decision = side.rows["decision"].take(pa.array(placed.at))
    kept = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(decision, "kept"), False)))
    if len(kept) < _LEAST or len(kept) > 0.95 * len(placed.at):
        return {}
    everyone = np.arange(len(placed.at))
    size = max(2, spectrum.sample_size(len(kept)))
    quality = numbers(side.rows["passed"])[placed.at]
    measures: dict[str, Measure] = {}
    for suffix, rows in (("", kept), ("_control", _cut(everyone, len(kept), config.seed))):
        one = mean(mean_of("quality", quality[rows], np.arange(len(rows))), rate=True)
        measures |= {m.metric: m for m in of_estimate(f"selection.quality{suffix}", VERSION, one, {"unit": "row"})}
        vectors = placed.vectors[rows]
        wide = spectrum.subsampled(lambda at, v=vectors: spectrum.vendi_score(v[at]), len(rows), size=size,  # type: ignore[misc]
                                   draws=config.draws, seed=config.seed, least=1.0)  # fmt: skip
        measures |= {m.metric: m for m in of_estimate(f"selection.diversity{suffix}", VERSION, wide, {"size": size})}
    return measures
