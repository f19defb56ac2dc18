"""What embeddings of a sample say of one side or two: diversity at equal n, a frozen map, drift, what is new and what is lost.

Both sides are cut to one number of rows, and compared at one size. The map is fitted on the older side and only looked up on.
"""

from __future__ import annotations

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
from ratoon.pipelines.audit.row_flags import Known
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

VERSION = "1"
_LEAST = 20  # rows under which nothing is said of a side's meaning
_TOLD = 20
_CUT_ROWS = 1_000


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
    found = []
    for side, known in sides:
        at = pa.array(_cut(known.lexical, most, config.seed))
        texts, tasks = text_of(side.rows).take(at).combine_chunks(), side.rows["task_id"].take(at).to_pylist()
        made = tiers.words(texts, tasks, _tier(config), config.seed, size)
        found.append({m.metric: m for m in made})
    return found


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
        vectors = [_embedded(side, at, config.measure) for (side, _), at in zip(sides, samples, strict=True)]
    except (MissingExtra, ModelError) as error:
        return _none(empty, error.message, error.hint)
    return _Meaner(sides, samples, vectors, config).made()


def _none(empty: Meaning, why: str, mend: str) -> Meaning:
    gap: NotComputed = {"what": "map, drift, diversity of meaning", "why": why, "mend": mend}
    return empty._replace(gaps=[gap])


def _sampled(side: Side, most: int, seed: int) -> NDArray[np.int64]:
    text = text_of(side.rows)
    there = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), False))
    at = np.flatnonzero(tiers.sample_of(side.rows["task_id"], most, seed) & there)
    return _cut(at, most, seed)


def _embedded(side: Side, at: NDArray[np.int64], config: tiers.TierConfig) -> NDArray[np.float32]:
    return np.asarray(embeddings.embed(text_of(side.rows).take(pa.array(at)).to_pylist(), config.embedding))


class _Meaner:
    """The numbers of one or two embedded sides."""

    def __init__(
        self, sides: list[tuple[Side, Known]], samples: list[NDArray[np.int64]], vectors: list[NDArray[np.float32]],
        config: AuditConfig,
    ) -> None:  # fmt: skip
        self.sides, self.samples, self.vectors, self.config = sides, samples, vectors, config
        self.model = embeddings.fingerprint(config.measure.embedding)
        texts = text_of(sides[-1][0].rows).take(pa.array(samples[-1])).to_pylist()
        self.map = regions.fit(vectors[-1], texts, config.clusters, config.seed)
        self.size = max(2, spectrum.sample_size(len(samples[0])))
        self.gaps: list[NotComputed] = []

    def made(self) -> Meaning:
        """Numbers, places and drift."""
        found = [self.numbers(i) for i in range(len(self.sides))]
        self.prompts(found)
        self.levels(found)
        placed = [self.place(i) for i in range(len(self.sides))]
        for i, one in enumerate(placed):
            found[i]["diversity.largest_cluster"] = self.largest(one)
        if len(self.sides) > 1:
            found[0] |= self.drift(placed)
        found[0] |= self.cut()
        return Meaning(found[0], found[1] if len(found) > 1 else {}, placed, self.map, self.gaps)

    def tasks(self, i: int) -> list[str]:
        """The task of each sampled row."""
        return self.sides[i][0].rows["task_id"].take(pa.array(self.samples[i])).to_pylist()

    def numbers(self, i: int) -> dict[str, Measure]:
        """Diversity of replies at the common size."""
        made = tiers.meaning(
            self.vectors[i], self.tasks(i), self.map.book, self.model, _tier(self.config), self.config.seed, "", self.size
        )
        return {m.metric: m for m in made}

    def prompts(self, found: list[dict[str, Measure]]) -> None:
        """Diversity of prompts, where there are prompts beside replies."""
        texts = [self._unlike(i) for i in range(len(self.sides))]
        most = min(map(len, texts))
        if most < _LEAST:
            return
        size = max(2, spectrum.sample_size(most))
        for i, mine in enumerate(texts):
            some = [mine[j] for j in _cut(np.arange(len(mine)), most, self.config.seed)]
            rows = np.asarray(embeddings.embed(some, self.config.measure.embedding))
            made = tiers.meaning(
                rows, list(range(len(rows))), self.map.book, self.model, _tier(self.config), self.config.seed, "task_", size
            )
            found[i] |= {m.metric: m for m in made}

    def _unlike(self, i: int) -> list[str]:
        """One prompt a task, in the order of tasks; none where prompts are all there is."""
        side = self.sides[i][0]
        if side.rows["completion"].null_count == side.rows.num_rows:
            return []
        rows = side.rows.take(pa.array(_sampled(side, self.config.prompts, self.config.seed))).select(["task_id", "prompt"])
        rows = rows.filter(pc.is_valid(rows["prompt"]))
        first = dict(zip(reversed(rows["task_id"].to_pylist()), reversed(rows["prompt"].to_pylist()), strict=True))
        return [first[task] for task in sorted(first) if first[task].strip()][: self.config.prompts]

    def levels(self, found: list[dict[str, Measure]]) -> None:
        """Alpha, beta and gamma at one number of tasks, where tasks have several rows."""
        counts = [len(set(self.tasks(i))) for i in range(len(self.sides))]
        if min(counts) < 4 or any(len(at) < 1.5 * n for at, n in zip(self.samples, counts, strict=True)):
            self.gaps.append(
                {"what": "alpha, beta, gamma", "why": "most tasks have one row", "mend": "audit several replies a task"}
            )
            return
        size = spectrum.sample_size(min(counts))
        for i in range(len(self.sides)):
            made = tiers.split(self.vectors[i], self.tasks(i), self.model, _tier(self.config), self.config.seed, size)
            found[i] |= {m.metric: m for m in made}

    def place(self, i: int) -> Placed:
        """A side on the map, with its neighbours."""
        xy, region = regions.place(self.map, self.vectors[i])
        own = neighbours.nearest(self.vectors[i])
        other = self.vectors[1 - i] if len(self.vectors) > 1 else None
        novelty = neighbours.novelty(self.vectors[i], other) if other is not None else np.full(len(own), np.nan)
        return Placed(self.samples[i], self.vectors[i], xy, region, own, novelty)

    def largest(self, one: Placed) -> Measure:
        """The region that holds most rows, and its share."""
        counts = np.bincount(one.region, minlength=len(self.map.labels))
        top = int(counts.argmax())
        share = rate(int(counts[top]), len(one.region))
        note = {"cluster": top, "label": self.map.labels[top], "clusters": len(self.map.labels)}
        params = {"map": self.map.book.fingerprint}
        return Measure("diversity.largest_cluster", VERSION, share.value, share.n, share.lo, share.hi, params=params, note=note)

    def drift(self, placed: list[Placed]) -> dict[str, Measure]:
        """The tests between the sides, as numbers."""
        now, was = [_cut(np.arange(len(p.at)), drift.MOST, self.config.seed) for p in placed]
        x, y = placed[0].vectors[now], placed[1].vectors[was]
        groups = [*np.array(self.tasks(0), object)[now].tolist(), *np.array(self.tasks(1), object)[was].tolist()]
        found: dict[str, Measure] = {}
        params: dict[str, Any] = {"model": self.model}
        auc = drift.two_sample(x, y, groups, seed=self.config.seed)
        found |= {m.metric: m for m in of_estimate("drift.auc", drift.VERSION, auc, params, self.config.seed)}
        mmd = drift.mmd2(x[:500], y[:500], sigma=self.config.measure.sigma, seed=self.config.seed)
        if mmd is not None:
            found["drift.mmd2"] = Measure("drift.mmd2", drift.VERSION, mmd.value, mmd.n, params=params, note={"p": mmd.p})
        k = len(self.map.labels)
        counts = [np.bincount(p.region, minlength=k).astype(float) for p in placed]
        self._psi(found, "drift.region_psi", counts[0], counts[1])
        far = placed[0].novelty
        found["diversity.novelty_against"] = Measure(
            "diversity.novelty_against", neighbours.VERSION, float(np.median(far)), len(far), params=params
        )
        return found

    def _psi(self, found: dict[str, Measure], name: str, now: NDArray[np.float64], was: NDArray[np.float64]) -> None:
        value = drift.psi(now, was)
        if value is not None:
            found[name] = Measure(name, drift.VERSION, value, int(min(now.sum(), was.sum())))

    def cut(self) -> dict[str, Measure]:
        """The share of texts that the model does not see to their end."""
        side, at = self.sides[0][0], _cut(self.samples[0], _CUT_ROWS, self.config.seed)
        texts = text_of(side.rows).take(pa.array(at)).to_pylist()
        most = self.config.measure.embedding.max_tokens
        long = embeddings.n_tokens(texts, self.config.measure.embedding) > most
        one = rate(int(long.sum()), len(long))
        return {"embedding.cut": Measure("embedding.cut", VERSION, one.value, one.n, one.lo, one.hi, params={"most": most})}


def lengths(now: Known, was: Known) -> dict[str, Measure]:
    """How far the lengths of the sides lie apart, in tenths of the other side."""
    a, b = (numbers(side.table["words"]) for side in (now, was))
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if min(len(a), len(b)) < 50:
        return {}
    value = drift.psi(*drift.by_quantiles(a, b))
    if value is None:
        return {}
    return {"drift.length_psi": Measure("drift.length_psi", drift.VERSION, value, min(len(a), len(b)))}


def section(found: Meaning, sides: list[tuple[Side, Known]]) -> DriftSection | None:
    """The drift section; None without two placed sides."""
    if len(found.placed) < 2 or found.regions is None:
        return None
    now, was = found.placed
    k = len(found.regions.labels)
    share = [np.bincount(p.region, minlength=k) / len(p.region) for p in (now, was)]
    rows: list[Occupancy] = [
        {"cluster": i, "label": found.regions.labels[i], "now": float(share[0][i]), "was": float(share[1][i])} for i in range(k)
    ]
    tests: list[Test] = []
    units = {"drift.auc": "auc", "drift.mmd2": "mmd2", "drift.region_psi": "psi", "drift.length_psi": "psi"}
    for name, unit in units.items():
        if (m := found.now.get(name)) is not None and m.value is not None:
            tests.append({"name": name, "value": m.value, "lo": m.lo, "hi": m.hi, "p": m.note.get("p"), "n": m.n, "unit": unit})
    lost, new = drift.gone(was.vectors, now.vectors, _TOLD), drift.gone(now.vectors, was.vectors, _TOLD)
    return {
        "clusters": rows, "tests": tests, "lost": _gone(lost, was, sides[1][0]), "new": _gone(new, now, sides[0][0]),
        "lost_share": lost.share if lost else None, "new_share": new.share if new else None,
    }  # fmt: skip


def _gone(found: drift.Gone | None, placed: Placed, side: Side) -> list[RegionRow]:
    if found is None:
        return []
    at = pa.array(placed.at[np.array(found.rows, np.int64)])
    ids, texts = side.rows["row_id"].take(at).to_pylist(), text_of(side.rows).take(at).to_pylist()
    return [
        {"row_id": i, "text": (t or "")[:400], "similarity": s} for i, t, s in zip(ids, texts, found.similarity, strict=True)
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
    found: dict[str, Measure] = {}
    for suffix, rows in (("", kept), ("_control", _cut(everyone, len(kept), config.seed))):
        one = mean(mean_of("quality", quality[rows], np.arange(len(rows))), rate=True)
        found |= {m.metric: m for m in of_estimate(f"selection.quality{suffix}", VERSION, one, {"unit": "row"})}
        vectors = placed.vectors[rows]
        wide = spectrum.subsampled(lambda at, v=vectors: spectrum.vendi_score(v[at]), len(rows), size=size,  # type: ignore[misc]
                                   draws=config.draws, seed=config.seed)  # fmt: skip
        found |= {m.metric: m for m in of_estimate(f"selection.diversity{suffix}", VERSION, wide, {"size": size})}
    return found
