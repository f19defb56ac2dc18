"""Quality, diversity and complexity of a round and of what was kept: table `measures`. Knows no Prefect.

Everything cheap is summed from stored lint rows (`pipelines/curation/lint.py`); word diversity and the medium tier look at a
sample of whole tasks. Past rounds are history: their samples are embedded once in a lifetime (`metrics/embeddings/cache.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.messages import last_texts
from ratoon.metrics.embeddings import clusters, spectrum
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.qdc import tiers
from ratoon.metrics.qdc.tiers import TierConfig
from ratoon.metrics.stats import measures, sketches
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.stats.measures import Measure
from ratoon.metrics.stats.sketches import Sketch
from ratoon.metrics.text import minhash
from ratoon.metrics.verifier_errors import error_rates as measure_verifier
from ratoon.pipelines.curation import lint as linting
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.rollout_set import Crop, earlier
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest, Store

_TEXT = ["rollout_id", "task_id", "text"]


class Sample(NamedTuple):
    """Rollouts that have a text, in id order."""

    rollout_id: pa.Array
    tasks: list[str]
    texts: pa.Array


class Rows(NamedTuple):
    """Rollouts by id beside their task, no text."""

    rollout_id: pa.ChunkedArray
    task_id: pa.ChunkedArray


def measure(store: Store, recipe: Recipe, crop: Crop, curated: Manifest, linted: Sequence[Manifest]) -> Manifest:
    """Table `measures` of one round (scope `iteration`) and of the dataset made of it (scope `dataset`)."""
    config, name = recipe.measure, curated.shard or "default"
    seed = ids.derive_seed(recipe.run.seed, "measure")
    book = _map(store, config, crop, seed) if config.tier == "medium" else None
    past = _past(store, crop) if book else []
    near = _near(store, recipe, crop)
    inputs = [
        *linted,
        *near,
        crop.groups,
        curated,
        *([book] if book else []),
        *store.find("verifiers"),
        *(m for p in past for m in p),
    ]
    model = {"model": embeddings.fingerprint(config.embedding)} if book else {}
    wanted = key("measure", crop.iteration, name, config={"measure": semantic(config), "seed": seed} | model, inputs=inputs,
                 versions=linting.VERSIONS | {"tiers": tiers.VERSION, "spectrum": spectrum.VERSION})  # fmt: skip

    def build() -> Built:
        view = _View(store, config, crop, seed, store.read("sketches", [book]) if book else None, past, near)
        all_rows = view.rows()
        kept = view.kept(curated, all_rows)
        found = [_scoped(view, "dataset", str(curated.extra["dataset_id"]), kept, view.sums_of(kept, linted), everything=False)]
        if name == "default":
            found.insert(0, _scoped(view, "iteration", str(crop.iteration), all_rows, _sums(store, linted), everything=True))
        made, sums = (pa.concat_tables(tables) for tables in zip(*found, strict=True))
        return Built({"measures": made, "sketches": sums}, Counts(made.num_rows, made.num_rows))

    return run_stage(store, wanted, build)


def _scoped(view: _View, kind: str, scope: str, rows: Rows, sums: list[Sketch], everything: bool) -> tuple[pa.Table, pa.Table]:
    """Tables `measures` and `sketches` of one scope."""
    found, own = view.measured(rows, sums, everything)
    return measures.table(found, kind, scope, view.crop.iteration), sketches.table(own, kind, scope, view.crop.iteration)


def _sums(store: Store, linted: Sequence[Manifest]) -> list[Sketch]:
    return sketches.merge(sketches.read(store.read("sketches", linted)))


def _near(store: Store, recipe: Recipe, crop: Crop) -> list[Manifest]:
    """The round's near-duplicate edges by the recipe's settings, where a filter had them found."""
    version = minhash.edge_version(recipe.curation.minhash)
    return [m for m in store.find("near", crop.iteration) if m.key.versions.get("edges") == version]


def _past(store: Store, crop: Crop) -> list[list[Manifest]]:
    """The rollouts of earlier rounds, a list each."""
    return [list(past.rollouts) for past in earlier(store, crop)]


def _map(store: Store, config: TierConfig, crop: Crop, seed: int) -> Manifest:
    """The frozen map of the run, fitted on the first round that is measured with this model."""
    model = embeddings.fingerprint(config.embedding)
    wanted = key("map", None, config={"clusters": config.clusters, "seed": seed, "model": model})

    def build() -> Built:
        view = _View(store, config, crop, seed, None, [], [])
        rows = view.rows()
        book = clusters.fit_codebook(view.embed(view.sample(rows, config.sample).texts), config.clusters, seed=seed)
        one = Sketch(
            "map.replies", len(book.centres), book.centres.astype(np.float32).ravel().astype(np.float64), book.fingerprint
        )
        return Built({"sketches": sketches.table([one], "run", "map", None)}, Counts(1, 1))

    return run_stage(store, wanted, build)


class _View:
    """One round's rollouts as the tiers want them."""

    def __init__(
        self, store: Store, config: TierConfig, crop: Crop, seed: int, book: pa.Table | None, past: list[list[Manifest]],
        near: list[Manifest],
    ) -> None:  # fmt: skip
        self.near = near
        self.store, self.config, self.crop, self.seed, self.past = store, config, crop, seed, past
        self.book = _read_map(book) if book is not None else None
        self.model = embeddings.fingerprint(config.embedding) if self.book else ""

    def rows(self, manifests: Sequence[Manifest] | None = None) -> Rows:
        """Every rollout in id order."""
        table = self.store.read("rollouts", manifests or self.crop.rollouts, ["rollout_id", "task_id"]).sort_by("rollout_id")
        return Rows(table["rollout_id"], table["task_id"])

    def kept(self, curated: Manifest, rows: Rows) -> Rows:
        """The rollouts in the dataset."""
        listed = self.store.read("examples", [curated], ["rollout_ids"])["rollout_ids"].combine_chunks().flatten()
        inside = pc.is_in(rows.rollout_id, value_set=pc.unique(listed))
        return Rows(rows.rollout_id.filter(inside), rows.task_id.filter(inside))

    def sums_of(self, rows: Rows, linted: Sequence[Manifest]) -> list[Sketch]:
        """Sums over some rollouts from their stored lint rows; no text is read."""
        wanted = rows.rollout_id.combine_chunks()
        batches = [b.filter(pc.is_in(b["rollout_id"], value_set=wanted)) for b in self.store.scan("lint", linted)]
        table = pa.Table.from_batches(batches, schema=schema.TABLES["lint"])
        at = pc.index_in(table["rollout_id"], value_set=wanted)
        return tiers.sketch(table.append_column("task_id", rows.task_id.combine_chunks().take(at))) if table.num_rows else []

    def sample(self, rows: Rows, most: int, manifests: Sequence[Manifest] | None = None) -> Sample:
        """Whole tasks of those rows, about `most` rollouts."""
        inside = pa.array(tiers.sample_of(rows.task_id, most, self.seed))
        wanted = rows.rollout_id.filter(inside).combine_chunks()
        scan = self.store.scan("rollouts", manifests or self.crop.rollouts, _TEXT)
        batches = [b.filter(pc.and_(pc.is_in(b["rollout_id"], value_set=wanted), pc.is_valid(b["text"]))) for b in scan]
        found = pa.Table.from_batches(batches, schema=schema.empty("rollouts").select(_TEXT).schema).sort_by("rollout_id")
        return Sample(found["rollout_id"].combine_chunks(), found["task_id"].to_pylist(), found["text"].combine_chunks())

    def embed(self, texts: pa.Array) -> NDArray[np.float32]:
        return embeddings.embed(texts.to_pylist(), self.config.embedding)

    def measured(self, rows: Rows, sums: list[Sketch], everything: bool) -> tuple[list[Measure], list[Sketch]]:
        """Every measure of some rollouts, and their merged sums with the Gram sum of the sample."""
        found = tiers.cheap(sums, {"unit": "rollout"})
        if everything:
            found += self.groups()
        for one in self.near:
            edges = self.store.read("edges", [one], ["a_id", "b_id"])
            found += tiers.near_duplicates(edges, rows.rollout_id, one.key.versions["edges"])
        if len(rows.rollout_id):
            some = self.sample(rows, tiers.LEXICAL_ROWS)
            found += tiers.words(some.texts, some.tasks, self.config, self.seed)
            found += tiers.labels("families", self.families(rows))
            if self.book is not None:
                more, gram = self.medium(rows, everything)
                found, sums = found + more, [*sums, *gram]
        return found, sums

    def medium(self, rows: Rows, everything: bool) -> tuple[list[Measure], list[Sketch]]:
        """The measures that need embeddings of a sample: of replies and, where all are looked at, of tasks and novelty."""
        assert self.book is not None
        some = self.sample(rows, self.config.sample)
        if not len(some.texts):
            return [], []
        vectors, tasks = self.embed(some.texts), some.tasks
        args: dict[str, Any] = {"model": self.model, "config": self.config, "seed": self.seed}
        found = tiers.meaning(vectors, tasks, self.book, subject="", **args) + tiers.split(vectors, tasks, **args)
        found += tiers.qd(vectors, *self.verdicts(some.rollout_id), tasks, self.book, **args)
        if everything:
            prompts = self.prompts(sorted(set(tasks)))
            found += tiers.meaning(self.embed(prompts), list(range(len(prompts))), self.book, subject="task_", **args)
        history = [self.embed(self.sample(self.rows(part), self.config.sample, part).texts) for part in self.past]
        if history:
            found += tiers.novelty(vectors, np.concatenate(history), self.model, len(history))
        gram = spectrum.gram(vectors)
        return found, [Sketch("gram.replies", gram.n, np.array(gram.packed()), self.model)]

    def verdicts(self, rollout_ids: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Whether each rollout passed (1, 0, NaN unknown) and its group's pass rate."""
        rows = self.store.read("rollouts", self.crop.rollouts, ["rollout_id", "group_id"])
        rows = rows.take(pc.index_in(rollout_ids, value_set=rows["rollout_id"].combine_chunks()))
        scores = self.store.read("scores", self.crop.scores, ["subject_id", "status"])
        scores = scores.filter(pc.is_in(scores["status"], value_set=pa.array(["pass", "fail"])))
        status = (
            scores["status"].combine_chunks().take(pc.index_in(rollout_ids, value_set=scores["subject_id"].combine_chunks()))
        )
        passed = pc.equal(status, "pass").cast(pa.float64())
        groups = self.store.read("groups", [self.crop.groups], ["group_id", "pass_rate"])
        at = pc.index_in(rows["group_id"].combine_chunks(), value_set=groups["group_id"].combine_chunks())
        rate = groups["pass_rate"].combine_chunks().take(at)
        return passed.to_numpy(zero_copy_only=False), rate.to_numpy(zero_copy_only=False)

    def tasks(self, wanted: pa.Array, columns: list[str]) -> pa.Table:
        """Those columns of the round's tasks, in the order of `wanted`."""
        scan = self.store.scan("tasks", self.crop.pool, ["task_id", *columns])
        batches = [b.filter(pc.is_in(b["task_id"], value_set=wanted)) for b in scan]
        found = pa.Table.from_batches(batches, schema=schema.empty("tasks").select(["task_id", *columns]).schema)
        return found.take(pc.index_in(wanted, value_set=found["task_id"].combine_chunks()))

    def prompts(self, task_ids: list[str]) -> pa.Array:
        asked = self.tasks(pa.array(task_ids, pa.string()), ["messages"])["messages"]
        return pc.fill_null(last_texts(asked, "user"), "")

    def families(self, rows: Rows) -> pa.ChunkedArray:
        return self.tasks(pc.unique(rows.task_id), ["family"])["family"]

    def groups(self) -> list[Measure]:
        """Pass rates, difficulty and votes of the round's groups: those a verifier judged where there are any."""
        table = self.store.read("groups", [self.crop.groups])
        judged = table.filter(pc.greater(table["n_valid"], 0))
        table = judged if judged.num_rows else table.filter(pc.is_valid(table["scorer"]))
        if not table.num_rows:
            return []
        names = pc.unique(table["scorer"]).to_pylist()
        keys = self.tasks(table["task_id"].combine_chunks(), ["problem_key"])["problem_key"].to_pylist()
        fpr, fnr = self.errors(names[0]) if len(names) == 1 else (None, None)
        return tiers.groups(table, keys, fpr, fnr, self.seed)

    def errors(self, verifier: str) -> tuple[Estimate | None, Estimate | None]:
        """A verifier's measured false positive and false negative rates."""
        measured = self.store.find("verifiers")
        found = measure_verifier.read(self.store.read("measures", measured)) if measured else []
        return next(((one.fpr, one.fnr) for one in found if one.verifier == verifier), (None, None))


def _read_map(table: pa.Table) -> clusters.Codebook:
    (one,) = sketches.read(table)
    return clusters.codebook(one.values.reshape(one.n, -1))
