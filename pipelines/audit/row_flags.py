"""What is known of each row of a side without a model: counts, and flags of what is wrong with it; and their shares.

Everything cheap is of all rows; what is dear (pairs, matches, languages, shared runs) is of a sample whose size is its `n`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.qdc import tiers
from ratoon.metrics.report import NotComputed, language, repetition
from ratoon.metrics.report import frame as frames
from ratoon.metrics.report.frame import BEHAVIOURS, COUNTED, text_of
from ratoon.metrics.stats import sketches
from ratoon.metrics.stats.calibration import rate
from ratoon.metrics.stats.correlation import spearman
from ratoon.metrics.stats.measures import Measure, of_estimate
from ratoon.pipelines.audit.check import VERSION, Check, by_name, flags_at, gap, joined, sampled_rows, share
from ratoon.pipelines.audit.row_matches import contaminated, near_copies, near_question
from ratoon.pipelines.audit.row_verdicts import verdicts
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

_HEAD = 120
_LANGUAGES = 20_000
_MAIN_LANGUAGE = 0.8  # the share of rows from which a side has a language of its own
_LEAST_TEXTS = 20  # of fewer texts nothing is said about languages
_OF_REPLIES = ("empty", "refusal")
_DROPPED = ("prompt", "completion", "place", "split")


class Known(NamedTuple):
    """Rows with counts and flags (no texts but their heads), numbers by name, shared runs, and what was not computed."""

    table: pa.Table
    numbers: dict[str, Measure]
    repeated: repetition.Repeated
    lexical: NDArray[np.int64]
    gaps: list[NotComputed]


def known(side: Side, config: AuditConfig, held: pa.Table) -> Known:
    """All that needs no model of one side; `held` are the items of evaluation sets."""
    rows = side.rows
    counts = side.stored["lint"] if "lint" in side.stored else frames.counted(rows)
    lexical = sampled_rows(rows, tiers.LEXICAL_ROWS, config.seed)
    texts = text_of(rows).take(pa.array(lexical)).to_pylist()
    repeated = repetition.repeated([text or "" for text in texts])
    copies = copied(side, counts)
    checks = [
        unreadable(side),
        Check({name: counts[name] for name in COUNTED}),
        copies,
        verdicts(rows, config),
        languages(rows, counts, config.seed),
        templates(rows.num_rows, lexical, repeated),
        contaminated(side, config, held),
        near_question(side, held),
        near_copies(side, numbers(counts["words"]), copies.flags["duplicate_of"], config),
        Check(numbers=[*means(rows, counts), *follows_length(rows, counts), *families(rows)]),
    ]
    known = joined(checks)
    measures = by_name(cheap(rows, counts)) | by_name(known.numbers)
    return Known(_table(rows, known.flags), measures, repeated, lexical, list(known.gaps))


def unreadable(side: Side) -> Check:
    """The share of a file's rows that could not be read; empty where all could."""
    reading = side.reading
    if reading is None or not reading.unreadable:
        return Check()
    one = rate(reading.unreadable, reading.rows + reading.unreadable)
    note = {"unit": "rows", "said": f"the first {reading.first_unreadable}"}
    return Check(numbers=[Measure("reading.unreadable", VERSION, one.value, one.n, one.lo, one.hi, note=note)])


def copied(side: Side, counts: pa.Table) -> Check:
    """Flags `duplicate_of` and `truncated`, and the shares of copies, cuts, empty replies and refusals."""
    rows = side.rows
    words = np.nan_to_num(numbers(counts["words"])).astype(np.int64)
    copy_of = frames.duplicates(rows, words)
    cut, how = frames.truncated(rows, counts)
    unseen = side.reading.not_looked_at if side.reading is not None else []
    said = f"what they say in {', '.join(unseen)} was not compared, so they may differ" if unseen else ""
    measures = share("diversity.exact_duplicates", np.asarray(pc.is_valid(copy_of)).astype(float), said=said)
    if not _replied(rows):
        mend = "name its column: --column COLUMN=completion"
        gaps = [gap("cut, empty and refusing replies", "no row has a reply", mend)]
        return Check({"duplicate_of": copy_of, "truncated": cut}, measures, gaps)
    measures += share("quality.truncated", cut, said=f"known by {how}")
    for name in ("empty", "refusal"):
        measures += share(f"quality.{name}", counts[name])
    return Check({"duplicate_of": copy_of, "truncated": cut}, measures)


def languages(rows: pa.Table, counts: pa.Table, seed: int) -> Check:
    """Flags `language`, of a sample of rows, and `other_language`: not the one of most; a gap where none is of most."""
    n = rows.num_rows
    at = sampled_rows(rows, _LANGUAGES, seed)
    if len(at) < _LEAST_TEXTS:
        gaps = [gap("language mix", f"there are fewer than {_LEAST_TEXTS} texts", "audit more rows")]
        return Check({"language": pa.nulls(n, pa.string()), "other_language": pa.nulls(n, pa.bool_())}, gaps=gaps)
    positions = pa.array(at)
    texts, scripts = text_of(rows).take(positions).to_pylist(), counts["script"].take(positions).to_pylist()
    sample = language.languages(texts, scripts)
    column, other = _scattered(sample, at, n), pa.nulls(n, pa.bool_())
    by_share = [(name, count) for name, count in _by_count(sample) if name != language.UNSURE]
    unsure = pc.sum(pc.equal(sample, language.UNSURE)).as_py()
    if not by_share:
        return Check({"language": column, "other_language": other})
    (main, most), *others = by_share
    if most < _MAIN_LANGUAGE * sum(count for _, count in by_share):
        why = f"no language has four rows in five (most: {main})"
        gaps = [gap("language mix", why, "audit one language at a time")]
        return Check({"language": column, "other_language": other}, gaps=gaps)
    sure = pc.if_else(pc.equal(column, language.UNSURE), pa.scalar(None, pa.string()), column)
    other = pc.not_equal(sure, main)
    named = ", ".join(f"{name} {count}" for name, count in others[:5])
    said = f"most are {main}" + (f", others {named}" if named else "") + (f"; {unsure} are unsure" if unsure else "")
    measures = share("quality.other_language", other, said=said)
    return Check({"language": column, "other_language": other}, measures)


def templates(n: int, lexical: NDArray[np.int64], repeated: repetition.Repeated) -> Check:
    """Flag `template`: the row holds the commonest run of words that rows share; and the share of such rows."""
    flags = flags_at(lexical, n)
    if repeated.grams:
        flags[lexical[repeated.rows[0]]] = 1
    commonest = repr(repeated.grams[0]["text"]) if repeated.grams else ""
    column = pa.array(flags == 1, mask=np.isnan(flags))
    return Check({"template": column}, share("diversity.template", flags, said=commonest))


def cheap(rows: pa.Table, counts: pa.Table) -> list[Measure]:
    """The cheap tier's numbers of the rows' counts."""
    table = rows.select(["task_id", "n_tokens"])
    for name in COUNTED:
        if name in _OF_REPLIES and not _replied(rows):
            continue
        table = table.append_column(name, counts[name])
    return tiers.cheap(tiers.sketch(table), {"unit": "row"})


def means(rows: pa.Table, counts: pa.Table) -> list[Measure]:
    """The means of behaviours and rewards, with intervals by task."""
    tasks = pc.unique(rows["task_id"])
    task = pc.index_in(rows["task_id"], value_set=tasks).to_numpy().astype(np.int64)
    behaviours = np.sum([numbers(counts[name]) for name in BEHAVIOURS], axis=0)
    measures: list[Measure] = []
    rewards = numbers(rows["reward"])
    for metric, values, low in (("complexity.behaviours", behaviours, 0.0), ("quality.reward", rewards, -np.inf)):
        estimate = sketches.mean(sketches.mean_of(metric, values, task), low=low)
        measures += of_estimate(metric, VERSION, estimate, {"unit": "row"})
    return measures


def follows_length(rows: pa.Table, counts: pa.Table) -> list[Measure]:
    """Spearman's correlation of reward (or verdict) and words with its 95 % interval; empty under 20 rows."""
    reward, words = numbers(rows["reward"]), numbers(counts["words"])
    reward = reward if np.isfinite(reward).any() else numbers(rows["passed"])
    both = np.isfinite(reward) & np.isfinite(words)
    r = spearman(reward[both], words[both]) if both.sum() >= 20 else None
    if r is None:
        return []
    # Fisher's transform; ranks spread a little wider than 1 / sqrt(n - 3).
    half = 1.96 * 1.06 / np.sqrt(both.sum() - 3)
    centre = np.arctanh(np.clip(r, -0.999999, 0.999999))
    lo, hi = float(np.tanh(centre - half)), float(np.tanh(centre + half))
    return [Measure("quality.reward_length", VERSION, r, int(both.sum()), lo, hi)]


def families(rows: pa.Table) -> list[Measure]:
    """The shares of the ten largest families and their diversity; empty where nearly every row has its own."""
    by_count = _by_count(rows["family"])
    n = sum(count for _, count in by_count)
    if not 2 <= len(by_count) <= 0.2 * max(n, 1):
        return []
    shares = [(f"family.{family}", rate(count, n)) for family, count in by_count[:10]]
    measures = [Measure(name, VERSION, one.value, one.n, one.lo, one.hi) for name, one in shares]
    return [*measures, *tiers.labels("families", rows["family"])]


def _replied(rows: pa.Table) -> bool:
    return bool(rows["completion"].null_count < rows.num_rows)


def _by_count(values: pa.Array | pa.ChunkedArray) -> list[tuple[str, int]]:
    """The values that are known with their counts, the commonest first."""
    counts = [(c["values"], c["counts"]) for c in pc.value_counts(values.drop_null()).to_pylist()]
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def _table(rows: pa.Table, flags: Any) -> pa.Table:
    """Rows without whole texts, then counts and flags."""
    columns: dict[str, Any] = {name: rows[name] for name in rows.column_names if name not in _DROPPED}
    for name in ("prompt", "completion"):
        columns[name] = pc.utf8_slice_codeunits(rows[name], 0, _HEAD)
    return pa.table(columns | dict(flags))


def _scattered(values: pa.Array, at: NDArray[np.int64], n: int) -> pa.Array:
    """`values` at places `at` of a column of n; null elsewhere."""
    place = np.full(n, -1)
    place[at] = np.arange(len(at))
    return values.take(pa.array(place, mask=place < 0)) if len(values) else pa.nulls(n, values.type)
