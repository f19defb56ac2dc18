"""What is known of each row of a side without a model: counts, and flags of what is wrong with it; and their shares.

Everything cheap is of all rows; what is dear (pairs, matches, languages, shared runs) is of a sample whose size is its `n`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.metrics.qdc import tiers
from ratoon.metrics.report import NotComputed, answers, language, repetition
from ratoon.metrics.report import frame as frames
from ratoon.metrics.report import pass_vs_agreement as passes
from ratoon.metrics.report.frame import BEHAVIOURS, COUNTED, text_of
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.calibration import ece, rate
from ratoon.metrics.stats.correlation import spearman
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.stats.measures import Measure, of_estimate
from ratoon.metrics.text import contamination
from ratoon.metrics.text.minhash import MinHashConfig
from ratoon.metrics.text.near_duplicates import near
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

VERSION = "1"
_HEAD = 120
_LANGUAGES = 20_000
_WORDS = 20  # words from which shingles tell
_DROPPED = ("prompt", "completion", "place", "split")


class Known(NamedTuple):
    """Rows with counts and flags (no texts but their heads), numbers by name, shared runs, and what was not computed."""

    table: pa.Table
    numbers: dict[str, Measure]
    repeated: repetition.Repeated
    lexical: NDArray[np.int64]
    gaps: list[NotComputed]


def known(side: Side, config: AuditConfig, held: pa.Table) -> Known:
    """All that needs no model of one side."""
    rows = side.rows
    made = _Making(side, config)
    made.counts = frames.counted(rows) if "lint" not in side.stored else side.stored["lint"]
    made.flags |= {name: made.counts[name] for name in COUNTED}
    made.repeats()
    made.verdicts()
    made.languages()
    repeated = made.templates()
    made.matches(held)
    made.near()
    made.means()
    return Known(made.table(), made.found, repeated, made.lexical, made.gaps)


class _Making:
    """Flags and numbers as they come."""

    def __init__(self, side: Side, config: AuditConfig) -> None:
        self.side, self.config, self.rows = side, config, side.rows
        self.counts = pa.table({})
        self.flags: dict[str, Any] = {}
        self.found: dict[str, Measure] = {}
        self.gaps: list[NotComputed] = []
        self.lexical = np.zeros(0, np.int64)

    def missing(self, what: str, why: str, mend: str) -> None:
        self.gaps.append({"what": what, "why": why, "mend": mend})

    def share(self, metric: str, flags: Any, unit: str = "rows", said: str = "") -> None:
        """The share of rows whose flag is known that have it; nothing where none is known."""
        column = flags if isinstance(flags, np.ndarray) else numbers(flags)
        seen = column[~np.isnan(column.astype(float))]
        if len(seen):
            one = rate(int(seen.sum()), len(seen))
            self.found[metric] = Measure(metric, VERSION, one.value, one.n, one.lo, one.hi, params={"unit": unit},
                                         note={"unit": unit, "said": said})  # fmt: skip

    def repeats(self) -> None:
        """Copies and cuts."""
        words = np.nan_to_num(numbers(self.counts["words"])).astype(np.int64)
        self.flags["duplicate_of"] = frames.duplicates(self.rows, words)
        self.share("diversity.exact_duplicates", np.asarray(pc.is_valid(self.flags["duplicate_of"])).astype(float))
        cut, how = frames.truncated(self.rows, self.counts)
        self.flags["truncated"] = cut
        self.share("quality.truncated", cut, said=f"known by {how}")
        for name in ("empty", "refusal"):
            self.share(f"quality.{name}", self.counts[name])

    def verdicts(self) -> None:
        """Pass rates, agreement, and verdicts that contradict each other or the gold."""
        rows, n = self.rows, self.rows.num_rows
        self.flags |= {"corner": pa.nulls(n, pa.bool_()), "conflict": pa.nulls(n, pa.bool_())}
        self.flags["against_gold"] = pa.nulls(n, pa.bool_())
        if not frames.judged(rows):
            self.missing(
                "pass rates, verifier checks", "no column says whether a row is right", "map one: --column COLUMN=label"
            )
            return
        self._groups()
        passed = numbers(rows["passed"])
        known = passed[~np.isnan(passed)]
        if len(known) and np.ptp(known) == 0:
            self.missing("what sets right rows apart from wrong ones", f"every judged row {'passed' if known[0] else 'failed'}",
                         "audit all rollouts, not only those that were kept")  # fmt: skip
        if rows["answer"].null_count < n and len(known):
            odd = answers.conflicts(rows)
            judged = np.where(np.isnan(passed) | np.asarray(pc.is_null(rows["answer"])), np.nan, odd.astype(float))
            self.flags["conflict"] = pa.array(odd, mask=np.isnan(judged))
            if (numbers(rows["group_n"]) > 1).any():
                self.share("quality.conflicts", judged, "verdicts")
            if n <= self.config.matched:
                gold = answers.against_gold(rows)
                self.flags["against_gold"] = pa.array(gold == 1, mask=np.isnan(gold))
                self.share("quality.against_gold", gold, "verdicts")

    def _groups(self) -> None:
        groups = passes.groups(self.rows)
        n, p = numbers(groups["group_n"]), numbers(groups["pass_rate"])
        several = n >= 2
        if not several.any():
            self.missing("agreement, learnability", "no task has two judged rows", "map the task: --column task_id=COLUMN")
        table = pa.table({
            "n_valid": pa.array(np.nan_to_num(n).astype(np.int64)), "pass_rate": groups["pass_rate"],
            "n_passed": pa.array(np.round(np.nan_to_num(n * p)).astype(np.int64)), "vote_share": groups["vote_share"],
            "vote_margin": pa.nulls(len(n), pa.float64()), "entropy": pa.nulls(len(n), pa.float64()),
            "task_id": groups["task_id"],
        })  # fmt: skip
        table = table.filter(pa.array(several)) if several.any() else table
        made = tiers.groups(table, table["task_id"].to_pylist(), None, None, self.config.seed)
        if not several.any():
            made = [m for m in made if m.metric == "quality.pass_rate"]
        self.found |= {m.metric: m for m in made}
        for name in ("quality.all_right", "quality.all_wrong"):
            if name in self.found:
                m = self.found[name]
                self.found[name] = Measure(name, m.version, m.value, m.n, m.lo, m.hi, params=m.params, note={"unit": "tasks"})
        self._corner(groups)

    def _corner(self, groups: pa.Table) -> None:
        limits = self.config.limits
        agreed = ~np.isnan(numbers(groups["vote_share"])) & (numbers(groups["group_n"]) >= limits.corner_rows)
        if not agreed.any():
            return
        corner = passes.in_corner(groups, limits.corner_share, limits.corner_rows)
        self.share("consensus.corner", np.where(agreed, corner.astype(float), np.nan), "groups")
        self.flags["corner"] = pa.array(passes.in_corner(self.rows, limits.corner_share, limits.corner_rows))
        labels = {v for v in pc.unique(self.rows["label_source"]).to_pylist() if v}
        if "consensus" in labels:
            sure, right = numbers(groups["vote_share"])[agreed], numbers(groups["pass_rate"])[agreed] >= 0.5
            if len(sure) >= 100:
                self.found["consensus.ece"] = Measure("consensus.ece", VERSION, ece(sure, right), len(sure))

    def languages(self) -> None:
        """The language of a sample of rows, and how many are not in that of most."""
        at = self._sampled(_LANGUAGES)
        taken = pa.array(at)
        said = language.languages(text_of(self.rows).take(taken).to_pylist(), self.counts["script"].take(taken).to_pylist())
        known = said.drop_null()
        column, other = _scattered(said, at, self.rows.num_rows), pa.nulls(self.rows.num_rows, pa.bool_())
        if len(known):
            counts = sorted(pc.value_counts(known).to_pylist(), key=lambda c: (-c["counts"], c["values"]))
            if counts[0]["counts"] >= 0.8 * len(known):
                other = pc.not_equal(column, counts[0]["values"])
                others = ", ".join(f"{c['values']} {c['counts']}" for c in counts[1:6])
                self.share("quality.other_language", other, said=f"most are {counts[0]['values']}, others {others}")
            else:
                self.missing("language mix", f"no language has four rows in five (most: {counts[0]['values']})",
                             "audit one language at a time")  # fmt: skip
        self.flags |= {"language": column, "other_language": other}

    def templates(self) -> repetition.Repeated:
        """Runs of words that rows share, and the rows that hold the commonest."""
        self.lexical = self._sampled(tiers.LEXICAL_ROWS)
        texts = [text or "" for text in text_of(self.rows).take(pa.array(self.lexical)).to_pylist()]
        found = repetition.repeated(texts)
        held = np.full(self.rows.num_rows, np.nan)
        held[self.lexical] = 0
        if found.grams:
            held[self.lexical[found.rows[0]]] = 1
        self.flags["template"] = pa.array(held == 1, mask=np.isnan(held))
        if len(self.lexical):
            self.share("diversity.template", held, said=repr(found.grams[0]["text"]) if found.grams else "")
        return found

    def matches(self, held: pa.Table) -> None:
        """Rows that hold an item of an evaluation set: in the prompt or in the reply."""
        n = self.rows.num_rows
        self.flags["contaminated_by"] = pa.nulls(n, pa.string())
        self._reviewed(held)
        if "matched" in self.side.stored and not self.config.benchmarks:
            self._matched_before(self.side.stored["matched"], held)
            return
        if not held.num_rows:
            self.missing("contamination", "no evaluation set is known",
                         "name the sets: --benchmark FILE, repeatable")  # fmt: skip
            return
        at = self._sampled(self.config.matched)
        index = contamination.build(held, contamination.ContaminationConfig())
        best: dict[int, str] = {}
        ids = pa.array([str(i) for i in at], pa.string())
        for name in ("prompt", "completion"):
            texts = self.rows[name].take(pa.array(at)).combine_chunks()
            for edge in contamination.matches(index, ids, texts).to_pylist():
                if _tells(edge):
                    best.setdefault(int(edge["a_id"]), edge["b_id"])
        flags = np.full(n, np.nan)
        flags[at] = 0
        flags[list(best)] = 1
        self.flags["contaminated_by"] = pa.array([best.get(i) for i in range(n)], pa.string())
        sets = ", ".join(sorted(set(held["benchmark"].to_pylist()))[:5])
        self.share("contamination.rows", flags, said=f"compared with {held.num_rows} questions and answers of {sets}")

    def _matched_before(self, edges: pa.Table, held: pa.Table) -> None:
        """The same from the run's own edges."""
        by = self._named({e["a_id"]: e["b_id"] for e in edges.to_pylist() if _tells(e)})
        self.flags["contaminated_by"] = by
        said = f"compared with {held.num_rows} questions and answers of the run"
        self.share("contamination.rows", np.asarray(pc.is_valid(by)).astype(float), said=said)

    def _reviewed(self, held: pa.Table) -> None:
        """Rows that the run found near a question by embeddings, and which."""
        edges = self.side.stored.get("review")
        self.flags["near_question"] = pa.nulls(self.rows.num_rows, pa.string())
        if edges is None:
            return
        by = self._named(dict(zip(edges["a_id"].to_pylist(), edges["b_id"].to_pylist(), strict=True)))
        self.flags["near_question"] = by
        self.share("contamination.review", np.asarray(pc.is_valid(by)).astype(float), said=f"{held.num_rows} items are known")

    def _named(self, item: Mapping[str, str]) -> pa.Array:
        """Of each row the item that itself or its task is paired with."""
        known = pa.array(list(item), pa.string())
        named = pa.array(list(item.values()), pa.string())
        own, task = (named.take(pc.index_in(self.rows[c].combine_chunks(), value_set=known)) for c in ("row_id", "task_id"))
        return pc.coalesce(own, task)

    def near(self) -> None:
        """Rows of some length that nearly repeat a row of another task, and which one."""
        n = self.rows.num_rows
        long = np.nan_to_num(numbers(self.counts["words"])) >= _WORDS
        stored = self.side.stored.get("near")
        at = np.arange(n) if stored is not None else self._sampled(self.config.pairs)
        at = at[long[at]]
        column: list[str | None] = [None] * n
        similar: list[float | None] = [None] * n
        if len(at) > 1:
            edges = self._edges(at) if stored is None else stored
            place = {name: i for i, name in zip(at.tolist(), self.rows["row_id"].take(pa.array(at)).to_pylist(), strict=True)}
            tasks = self.rows["task_id"]
            again = np.asarray(pc.is_valid(self.flags["duplicate_of"]))
            for edge in edges.to_pylist():
                a, b = place.get(edge["a_id"]), place.get(edge["b_id"])
                if a is None or b is None:  # an earlier round's, or a short text
                    continue
                enough = edge["similarity"] >= max(self.config.limits.similarity, similar[b] or 0.0)
                if enough and tasks[a] != tasks[b] and not again[b]:
                    column[b], similar[b] = edge["a_id"], edge["similarity"]
            flags = np.full(n, np.nan)
            flags[at] = [column[i] is not None for i in at]
            self.share("diversity.near_duplicates", flags)
        self.flags |= {"near_of": pa.array(column, pa.string()), "near_similarity": pa.array(similar, pa.float64())}

    def _edges(self, at: NDArray[np.int64]) -> pa.Table:
        taken = self.rows.take(pa.array(at))
        batch = (taken["row_id"].combine_chunks(), text_of(taken).combine_chunks())
        with tempfile.TemporaryDirectory(prefix="ratoon-audit-") as folder:
            return near([batch], MinHashConfig(), Path(folder)).edges

    def means(self) -> None:
        """Means of counts, with intervals by task; what follows length; families."""
        table = self.rows.select(["task_id", "n_tokens"])
        for name in COUNTED:
            table = table.append_column(name, self.counts[name])
        for one in tiers.cheap(tiers.sketch(table), {"unit": "row"}):
            self.found.setdefault(one.metric, one)
        at = pc.index_in(self.rows["task_id"], value_set=pc.unique(self.rows["task_id"])).to_numpy().astype(np.int64)
        acts = np.sum([numbers(self.counts[name]) for name in BEHAVIOURS], axis=0)
        self._mean("complexity.behaviours", acts, at)
        reward = numbers(self.rows["reward"])
        self._mean("quality.reward", reward, at)
        by = reward if np.isfinite(reward).any() else numbers(self.rows["passed"])
        self._by_length(by)
        self._families()

    def _mean(self, metric: str, values: NDArray[np.float64], at: NDArray[np.int64]) -> None:
        found = sketches.mean(sketches.mean_of(metric, values, at))
        self.found |= {m.metric: m for m in of_estimate(metric, VERSION, found, {"unit": "row"})}

    def _by_length(self, reward: NDArray[np.float64]) -> None:
        words = numbers(self.counts["words"])
        both = np.isfinite(reward) & np.isfinite(words)
        r = spearman(reward[both], words[both]) if both.sum() >= 20 else None
        if r is not None:
            slack = 1.96 * 1.06 / np.sqrt(both.sum() - 3)
            lo, hi = (float(np.tanh(np.arctanh(np.clip(r, -0.999999, 0.999999)) + s)) for s in (-slack, slack))
            self.found["quality.reward_length"] = Measure("quality.reward_length", VERSION, r, int(both.sum()), lo, hi)

    def _families(self) -> None:
        said = self.rows["family"].drop_null()
        counts = sorted(pc.value_counts(said).to_pylist(), key=lambda c: (-c["counts"], c["values"]))
        if 2 <= len(counts) <= 0.2 * max(len(said), 1):
            for c in counts[:10]:
                one: Estimate = rate(c["counts"], len(said))
                name = f"family.{c['values']}"
                self.found[name] = Measure(name, VERSION, one.value, one.n, one.lo, one.hi)
            self.found |= {m.metric: m for m in tiers.labels("families", self.rows["family"])}

    def _sampled(self, most: int) -> NDArray[np.int64]:
        """Rows with a text, whole tasks by hash, about `most` of them."""
        inside = tiers.sample_of(self.rows["task_id"], most, self.config.seed)
        there = np.flatnonzero(inside & ~np.asarray(pc.is_null(text_of(self.rows))))
        return there[:most] if len(there) > 2 * most else there

    def table(self) -> pa.Table:
        """Rows without whole texts, then counts and flags."""
        columns: dict[str, Any] = {name: self.rows[name] for name in self.rows.column_names if name not in _DROPPED}
        for name in ("prompt", "completion"):
            columns[name] = pc.utf8_slice_codeunits(self.rows[name], 0, _HEAD)
        return pa.table(columns | self.flags)


def _tells(edge: Mapping[str, Any]) -> bool:
    """Whether a match is one that filter `decontaminate` drops by default."""
    rule, tier = DecontaminateConfig(), json.loads(edge["evidence"])["tier"]
    return tier in rule.tiers and (tier != contamination.COVERAGE or edge["similarity"] >= rule.coverage)


def _scattered(values: pa.Array, at: NDArray[np.int64], n: int) -> pa.Array:
    """`values` at places `at` of a column of n; null elsewhere."""
    place = np.full(n, -1)
    place[at] = np.arange(len(at))
    return values.take(pa.array(place, mask=place < 0)) if len(values) else pa.nulls(n, values.type)
