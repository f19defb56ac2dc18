"""The report of one side or two, made of what was measured: numbers, warnings, sections, and why a section is not there.

A new section of the page is its type in `metrics/report`, a line of `SECTIONS` here, and what draws it in `metrics/page`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import sql
from ratoon.metrics.report import (
    FORMAT,
    MOST_IDS,
    RUN_ONLY,
    SEVERITIES,
    Fact,
    Levels,
    NotComputed,
    Number,
    Report,
    Sections,
    Series,
    Stage,
    Subject,
    Twin,
    Warn,
)
from ratoon.metrics.report import pass_vs_agreement as passes
from ratoon.metrics.report.examples import examples
from ratoon.metrics.report.frame import text_of
from ratoon.metrics.report.rules import Case, Finding, findings
from ratoon.metrics.report.warnings import WARNINGS
from ratoon.metrics.stats.measures import Measure
from ratoon.pipelines.audit import embedded as audit_meaning
from ratoon.pipelines.audit import quality_diversity as audit_plane
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.audit import sections as audit_sections
from ratoon.pipelines.audit.check import by_name, gap
from ratoon.pipelines.audit.embedded import Meaning, Placed
from ratoon.pipelines.audit.row_flags import Known
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.store.store import Store

Say = Callable[[str], None]
_STORED = ("diversity.novelty", "quality.pass_rate_corrected")
_TWINS = 60
_EXAMPLES = 10


class Audited(NamedTuple):
    """The report, and table `rows`: what is known of each row of either side."""

    report: Report
    rows: pa.Table


class Facts(NamedTuple):
    """All that was measured of the subject (the first side) and of what it is compared with, where there is a second.

    `numbers` are the subject's, `before` the other side's, `stored` those a run keeps of its rounds; `table` is table `rows`.
    """

    sides: Sequence[tuple[Side, Known]]
    config: AuditConfig
    store: Store | None
    meaning: Meaning
    numbers: Mapping[str, Measure]
    before: Mapping[str, Measure]
    stored: Mapping[int, Sequence[Measure]]
    table: pa.Table

    @property
    def subject(self) -> Side:
        return self.sides[0][0]

    @property
    def against(self) -> Side | None:
        return self.sides[1][0] if len(self.sides) > 1 else None

    @property
    def placed(self) -> Placed | None:
        """The subject's embedded rows."""
        return self.meaning.placed[0] if self.meaning.placed else None

    @property
    def round(self) -> tuple[Store, int] | None:
        """The run and the round that the subject is; null for what is no round of a run."""
        side = self.subject
        one_round = side.kind == "run" and self.store is not None and side.iteration is not None
        return cast("tuple[Store, int]", (self.store, side.iteration)) if one_round else None


def facts(sides: Sequence[tuple[Side, Known]], config: AuditConfig, say: Say) -> Facts:
    """What is measured of one side or two, the subject first."""
    subject, known = sides[0]
    store = Store.open(subject.root) if subject.root is not None else None
    say("comparing words")
    words = audit_meaning.words(list(sides), config)
    say(f"embedding at most {config.sample} rows a side" if config.tier == "medium" else "no embeddings: the tier is cheap")
    meaning = audit_meaning.meaning(list(sides), config)
    stored = audit_run.stored(store) if store is not None else {}
    numbers = known.numbers | words[0] | meaning.now
    before: dict[str, Measure] = {}
    if len(sides) > 1:
        before = sides[1][1].numbers | words[1] | meaning.was | _of_round(sides[1][0])
        numbers |= audit_meaning.lengths(known, sides[1][1])
    if meaning.placed:
        numbers |= audit_meaning.selection(subject, meaning.placed[0], config)
    if store is not None:
        numbers |= by_name(audit_run.verifier_errors(store)) | _of_round(subject)
    return Facts(sides, config, store, meaning, numbers, before, stored, _table(sides, meaning))


def _of_round(side: Side) -> dict[str, Measure]:
    """What a run stored of the round that a side is, and what its filters were worth; empty for other sides."""
    if side.root is None or side.iteration is None or side.kind != "run":
        return {}
    store = Store.open(side.root)
    of_round = by_name(m for m in audit_run.stored(store).get(side.iteration, []) if m.metric in _STORED)
    return of_round | by_name(audit_run.update_kept(store, side.iteration))


def _table(sides: Sequence[tuple[Side, Known]], meaning: Meaning) -> pa.Table:
    """Table `rows`: what is known of each row of either side."""
    parts = []
    for i, (_, known) in enumerate(sides):
        placed = meaning.placed[i] if i < len(meaning.placed) else None
        side = "subject" if i == 0 else "against"
        table = known.table.append_column("side", pa.repeat(side, known.table.num_rows))
        for name, values, kind in _places(placed):
            column = np.full(table.num_rows, np.nan)
            if placed is not None:
                column[placed.at] = values
            table = table.append_column(name, pa.array(column, mask=np.isnan(column)).cast(kind))
        parts.append(table)
    return pa.concat_tables(parts, promote_options="permissive")


def _places(placed: Placed | None) -> list[tuple[str, Any, pa.DataType]]:
    at = placed or Placed(*[np.zeros(0)] * 6)  # type: ignore[arg-type]
    xy = at.xy if placed is not None else np.zeros((0, 2))
    return [
        ("cluster", at.region, pa.int64()),
        ("x", xy[:, 0], pa.float64()),
        ("y", xy[:, 1], pa.float64()),
        ("nearest", at.nearest, pa.float64()),
        ("novelty", at.novelty, pa.float64()),
    ]


def report(facts: Facts) -> Audited:
    """The report and its rows, as plain JSON values."""
    warnings = _warnings(facts)
    sections = cast("Sections", {name: section.make(facts) for name, section in SECTIONS.items()})
    report: Report = {
        "format": FORMAT,
        "title": f"Audit of {facts.subject.name}",
        "ratoon": version("ratoon"),
        "seed": facts.config.seed,
        "subject": _subject(facts, 0),
        "against": _subject(facts, 1) if facts.against is not None else None,
        "verdict": audit_sections.verdict(facts.numbers, facts.before, warnings),
        "warnings": warnings,
        "numbers": _numbers(facts),
        "sections": sections,
        "rows": [],
        "not_computed": _gaps(facts, sections),
    }
    report["rows"] = audit_sections.rows_of(_pointed(report), facts.sides, facts.table, facts.config.seed)
    return Audited(_plain(report), facts.table)


def _subject(facts: Facts, i: int) -> Subject:
    side = facts.sides[i][0]
    return {
        "kind": side.kind,
        "name": side.name,
        "rows": side.total,
        "tasks": pc.count_distinct(side.rows["task_id"]).as_py(),
        "sampled": len(facts.meaning.placed[i].at) if i < len(facts.meaning.placed) else 0,
        "columns": side.columns,
        "digest": side.digest,
        "reading": None if side.reading is None else side.reading.line(),
    }


def _warnings(facts: Facts) -> list[Warn]:
    """The warnings, gravest first; those of one gravity by weight."""
    all_findings = findings(Case(facts.numbers, facts.before, facts.config.limits))
    notes = [finding for finding in all_findings if finding.code == "small_sample"]
    others = [finding for finding in all_findings if finding.code != "small_sample"]
    weighed = [(_warning(finding, facts.table), finding.weight) for finding in [*others, *_merged(notes)]]
    weighed.sort(key=lambda item: (SEVERITIES.index(item[0]["severity"]), -item[1], item[0]["code"]))
    return [warning for warning, _ in weighed]


def _warning(finding: Finding, table: pa.Table) -> Warn:
    entry = WARNINGS[finding.code]
    ids = sql.over({"rows": table}, finding.sql)["row_id"].to_pylist() if table.num_rows else []
    return {
        "code": finding.code,
        "severity": entry.severity,
        "message": finding.message,
        "action": entry.action,
        "sql": finding.sql,
        "row_ids": ids[:MOST_IDS],
        "evidence": finding.evidence,
    }


def _merged(notes: list[Finding]) -> list[Finding]:
    """One note for all changes that the sample is too small for."""
    if len(notes) < 2:
        return notes
    evidence = {name: value for note in notes for name, value in note.evidence.items()}
    return [notes[0]._replace(message="; ".join(note.message for note in notes), evidence=evidence)]


def _numbers(facts: Facts) -> dict[str, Number]:
    """Every number by name: the subject's, `against.NAME` of the other side, `NAME@ROUND` of a run's rounds."""
    columns = facts.table.column_names
    numbers = {name: audit_sections.number(m, columns) for name, m in sorted(facts.numbers.items())}
    for name, m in sorted(facts.before.items()):
        numbers[f"against.{name}"] = audit_sections.number(m, columns, side="against")
    for iteration, measures in facts.stored.items():
        numbers |= {f"{m.metric}@{iteration}": audit_sections.number(m, (), iteration) for m in measures}
    return numbers


def _funnel(facts: Facts) -> list[Stage] | None:
    return audit_run.funnel(*facts.round) if facts.round is not None else None


def _iterations(facts: Facts) -> list[Series] | None:
    return (audit_run.iterations(facts.store) or None) if facts.store is not None else None


def _levels(facts: Facts) -> Levels | None:
    """The levels of a run's rounds where it stored them; else those of the subject and of its round before."""
    by_round: dict[int | None, Mapping[str, Measure]] = {i: by_name(measures) for i, measures in facts.stored.items()}
    if not any("diversity.alpha" in numbers for numbers in by_round.values()):
        subject, against = facts.subject, facts.against
        by_round = {subject.iteration: facts.numbers}
        if facts.round is not None and against is not None and against.root == subject.root:
            by_round[against.iteration] = facts.before
    return audit_sections.levels(by_round)


def _twins(facts: Facts) -> list[Twin] | None:
    pairs = audit_run.twins(*facts.round, _TWINS) if facts.round is not None else []
    return pairs or audit_sections.twins(facts.table, facts.subject, facts.placed, facts.config) or None


def _provenance(facts: Facts) -> list[Fact]:
    """What the report was made by and of."""
    config, regions = facts.config, facts.meaning.regions
    lines = [("ratoon", version("ratoon")), ("python", platform.python_version())]
    lines += [("seed", str(config.seed)), ("tier", config.tier)]
    for (side, _), name in zip(facts.sides, ("subject", "against"), strict=False):
        lines += [(f"{name} digest", side.digest), (f"{name} rows", f"{side.rows.num_rows} of {side.total}")]
        lines += [(f"{name}: note", note) for note in side.notes]
    if regions is not None:
        model = next((m.params["model"] for m in facts.numbers.values() if "model" in m.params), "")
        lines += [
            ("embedding model", f"{config.measure.embedding.model} {model}"),
            ("map", regions.book.fingerprint),
            ("embedded rows a side", str(len(facts.meaning.placed[0].at))),
        ]
    return [{"name": name, "value": value} for name, value in lines]


class Section(NamedTuple):
    """What makes one section (null where it has nothing to stand on), and what is said where it is null."""

    make: Callable[[Facts], Any]
    why: str | None = None
    mend: str = ""


_RUN_ONLY = ("only a run knows its rounds", "audit the run's folder")
_NO_ROW = ("there is no row", "give rows")
SECTIONS: dict[str, Section] = {
    "funnel": Section(_funnel, *_RUN_ONLY),
    "iterations": Section(_iterations, *_RUN_ONLY),
    "levels": Section(_levels),
    "plane": Section(
        lambda facts: audit_plane.plane(facts.subject, facts.placed, facts.config) if facts.placed is not None else None,
        "too few subsets have 20 embedded rows of known quality",
        "audit judged rows at tier medium",
    ),
    "map": Section(lambda facts: audit_sections.drawn(facts.meaning, facts.sides)),
    "drift": Section(
        lambda facts: audit_meaning.section(facts.meaning, list(facts.sides)),
        "there is nothing to compare with",
        "--against OTHER",
    ),
    "passes": Section(
        lambda facts: passes.passes(facts.subject.rows, facts.config.limits.corner_share, facts.config.limits.corner_rows),
        "no row has a pass rate",
        "map the verdicts: --column COLUMN=label",
    ),
    "repetition": Section(
        lambda facts: audit_sections.repetition(*facts.sides[0], facts.placed) if facts.subject.rows.num_rows else None,
        *_NO_ROW,
    ),
    "correlations": Section(
        lambda facts: audit_sections.correlations(facts.table),
        "fewer than two numbers vary over 20 rows",
        "audit more rows",
    ),
    "examples": Section(
        lambda facts: examples(facts.subject.rows, _EXAMPLES, facts.config.seed) if facts.subject.rows.num_rows else None,
        *_NO_ROW,
    ),
    "twins": Section(_twins, "no two rows resemble each other", "nothing: that is good"),
    "provenance": Section(_provenance),
}


def _gaps(facts: Facts, sections: Sections) -> list[NotComputed]:
    """What was not computed: of the subject's checks, of its meaning, and each null section that these do not name."""
    gaps = [*facts.sides[0][1].gaps, *facts.meaning.gaps]
    named = " ".join(each["what"] for each in gaps)
    made_sections = cast("Mapping[str, Any]", sections)
    impossible = RUN_ONLY if facts.subject.kind in ("file", "folder") else ()
    gaps += [
        gap(name, section.why, section.mend)
        for name, section in SECTIONS.items()
        if section.why is not None and made_sections[name] is None and name not in named and name not in impossible
    ]
    rows = facts.subject.rows
    if not rows.num_rows:
        return [gap("everything", *_NO_ROW), *gaps]
    if text_of(rows).null_count == rows.num_rows:
        return [gap("texts", "no row has a text", "name the columns: --column NAME=prompt --column NAME=completion"), *gaps]
    return gaps


def _pointed(report: Report) -> list[str]:
    """Ids of rows that the report points to, the most wanted first."""
    sections = report["sections"]
    ids = [i for w in report["warnings"] for i in w["row_ids"]]
    if (picked := sections["examples"]) is not None:
        ids += [*picked["best"], *picked["worst"], *picked["random"], *picked["borderline"]]
    ids += [i for t in sections["twins"] or () for i in (t["rejected"], t["kept"])]
    if (drift := sections["drift"]) is not None:
        ids += [r["row_id"] for r in [*drift["lost"], *drift["new"]]]
    return ids


def _plain(value: Any) -> Any:
    """JSON types only, floats finite and to ten digits."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return audit_sections.finite(value) if isinstance(value, float | np.floating) else value
