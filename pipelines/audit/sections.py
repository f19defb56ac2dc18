"""The report's sections from measured sides: numbers, the verdict strip, the map, repetition, correlations, twins, rows.

A section that has nothing to stand on is None, and says so among what was not computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.columns import numbers
from ratoon.metrics.embeddings import cosine_pairs as cosines
from ratoon.metrics.embeddings import neighbours
from ratoon.metrics.report import (
    CUT,
    MOST_ROWS,
    Correlations,
    Levels,
    Map,
    MapCluster,
    MapPoint,
    Number,
    Repetition,
    Row,
    Twin,
    Verdict,
    Warn,
)  # fmt: skip
from ratoon.metrics.report import correlations as correlating
from ratoon.metrics.report import repetition as repeating
from ratoon.metrics.report.frame import COUNTED, text_of
from ratoon.metrics.stats.measures import Measure
from ratoon.pipelines.audit.embedded import Meaning, Placed
from ratoon.pipelines.audit.row_flags import Known
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

_FLAGS = {
    "quality.truncated": "truncated", "quality.empty": "empty", "quality.refusal": "refusal",
    "quality.other_language": "other_language", "quality.conflicts": "conflict", "quality.against_gold": "against_gold",
    "diversity.exact_duplicates": "duplicate_of is not null", "diversity.template": "template", "quality.reward": "reward",
    "complexity.behaviours": "verification + backtracking + subgoals + backward_chaining",
}  # fmt: skip
_VERDICT: tuple[tuple[str, str, bool | None, str], ...] = (
    ("quality", "quality.pass_rate_corrected", True, "of replies are right, the verifier's errors taken out"),
    ("quality", "quality.pass_rate", True, "of judged replies passed"),
    ("quality", "quality.reward", True, "is the mean reward"),
    ("quality", "quality.truncated", False, "of replies are cut off"),
    ("diversity", "diversity.vendi", True, "effectively unlike replies among a sample (linear Vendi)"),
    ("diversity", "diversity.compression_gzip", False, "times smaller when compressed: up is more alike"),
    ("diversity", "diversity.exact_duplicates", False, "of rows repeat another"),
    ("complexity", "complexity.difficulty", None, "is the mean difficulty (1 - pass rate)"),
    ("complexity", "complexity.words", None, "words a reply"),
    ("complexity", "complexity.steps", None, "steps a reply"),
)  # fmt: skip
_CORRELATED = ("reward", "passed", "pass_rate", "vote_share", "words", "steps", "verification", "echo", "top_2", "novelty")
_LIGHT = {"vendi_down": "diversity.vendi", "gzip_up": "diversity.compression_gzip", "duplicates": "diversity.exact_duplicates",
          "truncated": "quality.truncated", "length_drift": "complexity.words"}  # fmt: skip
_DECLARED = set(_LIGHT.values()) - {"diversity.vendi", "diversity.compression_gzip", "complexity.words"}


def number(one: Measure, columns: Sequence[str], iteration: int | None = None, side: str = "subject") -> Number:
    """A measure as the report tells it; `sql` where averaging a column of table `rows` gives it again."""
    name = one.metric.partition(".")[2]
    column = _FLAGS.get(one.metric) or (name if name in COUNTED and name in columns else None)
    column = f"({column})::int" if one.metric in _FLAGS and "reward" not in one.metric and "+" not in str(column) else column
    sql = f"select avg({column}), count({column}) from rows where side = '{side}'" if column and iteration is None else None
    return {
        "value": finite(one.value), "lo": finite(one.lo), "hi": finite(one.hi), "n": int(one.n), "metric": one.metric,
        "version": one.version, "params": {**one.params, **one.note}, "iteration": iteration, "sql": sql,
    }  # fmt: skip


def finite(value: Any) -> float | None:
    """A float that JSON can hold, to ten digits: the rest is rounding that other machines do otherwise."""
    return None if value is None or not np.isfinite(value) else float(f"{float(value):.10g}")


def verdict(now: Mapping[str, Measure], was: Mapping[str, Measure], warnings: Sequence[Warn]) -> list[Verdict]:
    """The headlines there are, with what they were, the random control, and a light where a limit is declared."""
    lit = {_LIGHT[w["code"]]: w["severity"] for w in warnings if w["code"] in _LIGHT}
    headlines: list[Verdict] = []
    for axis, name, _, words in _VERDICT:
        one = now.get(name)
        if one is None or one.value is None or (name == "quality.pass_rate" and "quality.pass_rate_corrected" in now):
            continue
        before = was.get(name)
        before = before if before is not None and before.fingerprint == one.fingerprint else None
        control = now.get("selection.quality_control") if name.startswith("quality.pass_rate") else None
        share = name.startswith(("quality.", "diversity.exact", "complexity.difficulty")) and name != "quality.reward"
        amount = f"{100 * one.value:.3g} %" if share else f"{one.value:.3g}"
        light = lit.get(name) or ("ok" if name in _DECLARED or (name in _LIGHT.values() and before) else None)
        headlines.append({
            "axis": axis, "metric": name, "value": finite(one.value) or 0.0, "lo": finite(one.lo), "hi": finite(one.hi),  # type: ignore[typeddict-item]
            "n": one.n, "was": None if before is None else finite(before.value), "arrow": _arrow(one, before),
            "control": None if control is None else finite(control.value),
            "light": "warn" if light == "note" else light, "words": f"{amount} {words}",
        })  # fmt: skip
    return headlines


def _arrow(one: Measure, before: Measure | None) -> Any:
    """`up` or `down` where the intervals are disjoint, else `same`; None where there is nothing to compare with."""
    if before is None or before.value is None or one.value is None:
        return None
    if one.lo is not None and before.hi is not None and one.lo > before.hi:
        return "up"
    return "down" if one.hi is not None and before.lo is not None and one.hi < before.lo else "same"


def levels(by_round: Mapping[int | None, Mapping[str, Measure]]) -> Levels | None:
    """Alpha, beta and gamma of each round that has them, oldest first."""
    by_level: Levels = {"alpha": [], "beta": [], "gamma": []}
    for iteration in sorted(by_round, key=lambda i: -1 if i is None else i):
        mine = by_round[iteration]
        if all(f"diversity.{name}" in mine for name in by_level):
            for name in by_level:
                by_level[name].append(number(mine[f"diversity.{name}"], (), iteration))  # type: ignore[literal-required]
    return by_level if by_level["alpha"] else None


def drawn(meaning: Meaning, sides: Sequence[tuple[Side, Known]], most: int = 20_000) -> Map | None:
    """The map's points and regions."""
    if meaning.regions is None or not meaning.placed:
        return None
    points: list[MapPoint] = []
    for placed, (side, _), name in zip(meaning.placed, sides, ("subject", "against"), strict=False):
        points += _points(placed, side, name)
    clusters: list[MapCluster] = []
    every = np.concatenate([p.region for p in meaning.placed])
    xy = np.concatenate([p.xy for p in meaning.placed])
    for i, label in enumerate(meaning.regions.labels):
        mine = xy[every == i]
        if len(mine):
            x, y = np.median(mine, axis=0)
            clusters.append({"cluster": i, "label": label, "n": len(mine), "x": round(float(x), 5), "y": round(float(y), 5)})
    fitted = sides[len(meaning.placed) - 1][0].name
    return {"points": points[:most], "clusters": clusters, "explained": meaning.regions.explained, "n": len(points),
            "fitted_on": fitted}  # fmt: skip


def _points(placed: Placed, side: Side, name: str) -> list[MapPoint]:
    rows = side.rows.take(pa.array(placed.at)).select(["row_id", "iteration", "passed", "reward", "pass_rate"])
    points: list[MapPoint] = []
    for row, (x, y), region in zip(rows.to_pylist(), placed.xy, placed.region, strict=True):
        quality = row["reward"] if row["reward"] is not None else None if row["passed"] is None else float(row["passed"])
        difficulty = None if row["pass_rate"] is None else 1 - row["pass_rate"]
        points.append({"row_id": row["row_id"], "x": round(float(x), 5), "y": round(float(y), 5), "cluster": int(region),
                      "iteration": row["iteration"], "quality": finite(quality), "difficulty": finite(difficulty),
                      "side": name})  # type: ignore[typeddict-item]  # fmt: skip
    return points


def repetition(side: Side, known: Known, placed: Placed | None) -> Repetition:
    """Shared runs of words, openings, what prompts ask, and how near neighbours lie."""
    at = pa.array(known.lexical)
    texts = [text or "" for text in text_of(side.rows).take(at).to_pylist()]
    prompts = [text for text in side.rows["prompt"].take(at).to_pylist() if text]
    curve = neighbours.neighbour_curve(placed.vectors) if placed is not None else []
    return {
        "ngrams": known.repeated.grams, "openings": repeating.openings(texts), "verb_nouns": repeating.verb_nouns(prompts),
        "neighbour_curve": [{"similarity": cut, "share": finite(share)} for cut, share in curve],
    }  # fmt: skip


def correlations(table: pa.Table) -> Correlations | None:
    """The correlations of the subject's numbers, over at most a hundred thousand rows."""
    rows = table.filter(pc.equal(table["side"], "subject")).slice(0, 100_000)
    columns = {n: numbers(rows[n]) for n in _CORRELATED if n in rows.column_names and rows[n].null_count < rows.num_rows}
    return correlating.correlations(columns, "words") if rows.num_rows else None


def twins(table: pa.Table, side: Side, placed: Placed | None, config: AuditConfig, most: int = 60) -> list[Twin]:
    """Pairs among the subject's rows: copies, near-duplicates, and in the sample those of other tasks that mean the same."""
    rows = table.filter(pc.equal(table["side"], "subject"))
    pairs: list[Twin] = []
    for column, kind in (("duplicate_of", "exact"), ("near_of", "minhash")):
        mine = rows.filter(pc.is_valid(rows[column])).select(["row_id", column, "near_similarity"]).slice(0, most // 3)
        for row in mine.to_pylist():
            similarity = 1.0 if kind == "exact" else row["near_similarity"] or 0.0
            twin = {"rejected": row["row_id"], "kept": row[column], "kind": kind, "similarity": finite(similarity) or 0.0}
            pairs.append(twin)  # type: ignore[arg-type]
    return pairs + (_alike(side, placed, {t["rejected"] for t in pairs}, most // 3) if placed is not None else [])


def _alike(side: Side, placed: Placed, known: set[str], most: int) -> list[Twin]:
    rows = side.rows.take(pa.array(placed.at)).select(["row_id", "task_id"])
    ids, tasks = rows["row_id"].combine_chunks(), dict(zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True))
    config = cosines.SemanticConfig(floor=0.9)
    edges = cosines.edges(ids, placed.vectors, config, "audit").sort_by([("similarity", "descending"), ("a_id", "ascending")])
    pairs: list[Twin] = []
    for edge in edges.slice(0, 50 * most).to_pylist():
        if tasks[edge["a_id"]] != tasks[edge["b_id"]] and edge["b_id"] not in known and len(pairs) < most:
            known.add(edge["b_id"])
            pairs.append({"rejected": edge["b_id"], "kept": edge["a_id"], "kind": "semantic", "similarity": edge["similarity"]})
    return pairs


def rows_of(pointed: Iterable[str], sides: Sequence[tuple[Side, Known]], table: pa.Table, seed: int) -> list[Row]:
    """The rows that sections point to, in their order, then others at random, MOST_ROWS in all; texts cut at CUT."""
    first = dict.fromkeys(pointed)
    chosen: list[Row] = []
    for (side, _), name in zip(sides, ("subject", "against"), strict=False):
        mine = table.filter(pc.equal(table["side"], name)).select(["row_id", "cluster"])
        cluster = mine.filter(pc.is_valid(mine["cluster"]))
        regions = dict(zip(cluster["row_id"].to_pylist(), cluster["cluster"].to_pylist(), strict=True))
        ids = side.rows["row_id"].to_pylist() if side.rows.num_rows <= 200_000 else None
        at = _chosen(side, ids, first, name, seed, MOST_ROWS - len(chosen))
        chosen += [_row(r, name, regions.get(r["row_id"])) for r in side.rows.take(pa.array(at, pa.int64())).to_pylist()]
    return chosen


def _chosen(side: Side, ids: list[str] | None, first: Mapping[str, None], name: str, seed: int, room: int) -> list[int]:
    pointed_ids = pa.array(list(first), pa.string())
    asked = np.flatnonzero(np.asarray(pc.is_in(side.rows["row_id"], value_set=pointed_ids)))[:room].tolist()
    if name == "against" or (ids is None and len(asked) >= room):
        return asked
    rest = np.random.default_rng(seed).permutation(side.rows.num_rows)[: max(0, min(room - len(asked), 1_000))]
    return sorted({*asked, *rest.tolist()})[:MOST_ROWS]


def _row(row: Mapping[str, Any], name: str, cluster: int | None) -> Row:
    prompt, completion = row["prompt"], row["completion"]
    long = max(len(prompt or ""), len(completion or "")) > CUT
    return {
        "row_id": row["row_id"], "side": name, "prompt": prompt and prompt[:CUT], "completion": completion and completion[:CUT],  # type: ignore[typeddict-item]
        "task_id": row["task_id"], "iteration": row["iteration"], "reward": finite(row["reward"]),
        "pass_rate": finite(row["pass_rate"]), "tokens": row["n_tokens"], "decision": row["decision"], "reason": row["reason"],
        "cluster": cluster, "cut": long,
    }  # fmt: skip
