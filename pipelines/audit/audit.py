"""The audit: what is wrong first. Reads a run, a dataset or a stranger's file, measures, warns, and writes report.json.

Numbers come from `metrics/`; here they are gathered for one side or two. Nothing is written into what is audited. The rows
with all that is known of each go to `metrics.parquet` (table `rows` of `ratoon sql`), where every warning's SQL runs.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratoon import sql
from ratoon.config import Config, apply_sets, parse
from ratoon.metrics.page import render
from ratoon.metrics.report import FORMAT, MOST_IDS, SEVERITIES, NotComputed, Report, Sections, Subject, Warn
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
from ratoon.pipelines.audit.embedded import Meaning, Placed
from ratoon.pipelines.audit.row_flags import Known, known
from ratoon.pipelines.audit.side import Side, held_of, kind_of, side
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.store.files import explained
from ratoon.store.store import Store

Say = Callable[[str], None]
_RUN_ONLY = "only a run knows its rounds"


class Audited(NamedTuple):
    """The report, and table `rows`: what is known of each row of either side."""

    report: Report
    rows: pa.Table


class _Tree(Config):
    audit: AuditConfig = AuditConfig()


def configured(subject: Path, sets: Sequence[str] = ()) -> AuditConfig:
    """A run's own `[audit]`, else the defaults, with `sets` (KEY=VALUE, with or without `audit.`) applied."""
    tree: dict[str, Any] = {}
    if kind_of(subject) == "run":
        tree = {"audit": Store.open(subject).config().get("audit", {})}
    named = [item if item.startswith("audit.") else f"audit.{item}" for item in sets]
    return parse(_Tree, apply_sets(tree, named), "the audit's settings").audit


def audit(
    subject: Path, against: Path | None = None, *, config: AuditConfig | None = None, columns: Mapping[str, str] | None = None,
    iteration: int | None = None, against_iteration: int | None = None, say: Say = lambda _: None,
) -> Audited:  # fmt: skip
    """The report of whatever lies at `subject`, compared with `against`; a run without one with its round before.

    `iteration` and `against_iteration` are rounds of runs, the newest unless said.

    Raises UsageError for what is not there, DataError for what cannot be read at all or a column that is not there.
    """
    config = config or configured(subject)
    say(f"reading {subject}")
    now = side(subject, columns or {}, config, iteration)
    was = _other(now, against, against_iteration, columns or {}, config, say)
    held = held_of(config.benchmarks, now.held)
    sides: list[tuple[Side, Known]] = []
    for one in (now, *([was] if was else [])):
        say(f"counting {one.rows.num_rows} rows of {one.name}")
        sides.append((one, known(one, config, held)))
    return _Report(sides, config, say).made()


def _other(
    now: Side, against: Path | None, iteration: int | None, columns: Mapping[str, str], config: AuditConfig, say: Say
) -> Side | None:
    if against is not None:
        say(f"reading {against}")
        there = columns if kind_of(against) in ("file", "folder") else {}
        return side(against, there, config, iteration)
    if now.kind == "run" and now.root is not None and now.iteration is not None:
        before = audit_run.before(Store.open(now.root), now.iteration)
        return None if before is None else side(now.root, {}, config, before)
    return None


def write(found: Audited, out: Path) -> list[Path]:
    """The page `out`, whose folder is made, with `report.json` and `metrics.parquet` beside it; their paths.

    Raises MissingExtra where what draws the page is not installed: the other two are there then.
    """
    folder = out.parent
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path, rows = folder / "report.json", folder / "metrics.parquet"
        text = json.dumps(found.report, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False)
        path.write_text(text + "\n", encoding="utf-8")
        pq.write_table(found.rows, rows, compression="zstd", write_page_checksum=True)
        out.write_text(render(found.report), encoding="utf-8")
    return [out, path, rows]


class _Report:
    """The parts of one report."""

    def __init__(self, sides: list[tuple[Side, Known]], config: AuditConfig, say: Say) -> None:
        self.sides, self.config = sides, config
        self.now, self.was = sides[0], sides[1] if len(sides) > 1 else None
        self.store = Store.open(self.now[0].root) if self.now[0].root is not None else None
        self.gaps: list[NotComputed] = [gap for _, mine in sides[:1] for gap in mine.gaps]
        say("comparing words")
        words = audit_meaning.words(sides, config)
        say(f"embedding at most {config.sample} rows a side" if config.tier == "medium" else "no embeddings: the tier is cheap")
        self.meaning: Meaning = audit_meaning.meaning(sides, config)
        self.gaps += self.meaning.gaps
        self.numbers = self.now[1].numbers | words[0] | self.meaning.now
        self.before: dict[str, Measure] = {}
        if self.was is not None:
            self.before = self.was[1].numbers | words[1] | self.meaning.was
            self.numbers |= audit_meaning.lengths(self.now[1], self.was[1])
        self._more()
        self.table = self._rows()

    @property
    def placed(self) -> Placed | None:
        """The subject's embedded rows."""
        return self.meaning.placed[0] if self.meaning.placed else None

    def _more(self) -> None:
        """What the run stored of its rounds, and what its filters were worth."""
        if self.placed is not None:
            self.numbers |= audit_meaning.selection(self.now[0], self.placed, self.config)
        if self.store is None:
            return
        self.numbers |= {m.metric: m for m in audit_run.verifier_errors(self.store)}
        stored = audit_run.stored(self.store)
        for one, mine in ((self.now[0], self.numbers), (self.was[0] if self.was else None, self.before)):
            if one is not None and one.iteration is not None and one.kind == "run":
                wanted = ("diversity.novelty", "quality.pass_rate_corrected")
                mine |= {m.metric: m for m in stored.get(one.iteration, []) if m.metric in wanted}
                mine |= {m.metric: m for m in audit_run.update_kept(self.store, one.iteration)}

    def made(self) -> Audited:
        """The report and its rows."""
        warnings = self._warnings()
        sections = self._sections()
        report: Report = {
            "format": FORMAT, "title": f"Audit of {self.now[0].name}", "ratoon": version("ratoon"), "seed": self.config.seed,
            "subject": self._subject(0), "against": self._subject(1) if self.was else None,
            "verdict": audit_sections.verdict(self.numbers, self.before, warnings), "warnings": warnings,
            "numbers": self._numbers(), "sections": sections, "rows": [], "not_computed": self.gaps,
        }  # fmt: skip
        report["rows"] = audit_sections.rows_of(_pointed(report), self.sides, self.table, self.config.seed)
        return Audited(_plain(report), self.table)

    def _subject(self, i: int) -> Subject:
        one = self.sides[i][0]
        placed = self.meaning.placed[i] if i < len(self.meaning.placed) else None
        tasks = pc.count_distinct(one.rows["task_id"]).as_py()
        return {"kind": one.kind, "name": one.name, "rows": one.total, "tasks": tasks,
                "sampled": 0 if placed is None else len(placed.at), "columns": one.columns, "digest": one.digest}  # fmt: skip

    def _rows(self) -> pa.Table:
        """Table `rows`: of both sides, what is known of each."""
        parts = []
        for i, (_, mine) in enumerate(self.sides):
            placed = self.meaning.placed[i] if i < len(self.meaning.placed) else None
            table = mine.table.append_column("side", pa.repeat("subject" if i == 0 else "against", mine.table.num_rows))
            for name, values, kind in _places(placed):
                column = np.full(table.num_rows, np.nan)
                if placed is not None:
                    column[placed.at] = values
                table = table.append_column(name, pa.array(column, mask=np.isnan(column)).cast(kind))
            parts.append(table)
        return pa.concat_tables(parts, promote_options="permissive")

    def _warnings(self) -> list[Warn]:
        found = findings(Case(self.numbers, self.before, self.config.limits))
        found = [one for one in found if one.code != "small_sample"] + _merged([f for f in found if f.code == "small_sample"])
        made = [(self._warning(one), one.weight) for one in found]
        made.sort(key=lambda item: (SEVERITIES.index(item[0]["severity"]), -item[1], item[0]["code"]))
        return [warning for warning, _ in made]

    def _warning(self, one: Finding) -> Warn:
        told = WARNINGS[one.code]
        ids = sql.over({"rows": self.table}, one.sql)["row_id"].to_pylist() if self.table.num_rows else []
        return {"code": one.code, "severity": told.severity, "message": one.message, "action": told.action, "sql": one.sql,
                "row_ids": ids[:MOST_IDS], "evidence": one.evidence}  # fmt: skip

    def _numbers(self) -> dict[str, Any]:
        columns = self.table.column_names
        found = {name: audit_sections.number(m, columns) for name, m in sorted(self.numbers.items())}
        for name, m in sorted(self.before.items()):
            found[f"against.{name}"] = audit_sections.number(m, columns, side="against")
        if self.store is not None:
            for iteration, mine in audit_run.stored(self.store).items():
                found |= {f"{m.metric}@{iteration}": audit_sections.number(m, (), iteration) for m in mine}
        return found

    def _sections(self) -> Sections:
        one, mine = self.now
        limits = self.config.limits
        run = one.kind == "run" and self.store is not None and one.iteration is not None
        crossed = passes.passes(one.rows, limits.corner_share, limits.corner_rows)
        stored = audit_run.stored(self.store) if self.store is not None else {}
        by_round: dict[int | None, Mapping[str, Measure]] = {i: {m.metric: m for m in found} for i, found in stored.items()}
        if not any("diversity.alpha" in found for found in by_round.values()):
            by_round = {one.iteration: self.numbers}
            if run and self.was is not None and self.was[0].root == one.root:
                by_round[self.was[0].iteration] = self.before
        pairs = audit_run.twins(self.store, one.iteration, 60) if run else []  # type: ignore[arg-type]
        sections: Sections = {
            "funnel": audit_run.funnel(self.store, one.iteration) if run else None,  # type: ignore[arg-type]
            "iterations": (audit_run.iterations(self.store) if self.store is not None else []) or None,
            "levels": audit_sections.levels(by_round),
            "plane": audit_plane.plane(one, self.placed, self.config) if self.placed is not None else None,
            "map": audit_sections.drawn(self.meaning, self.sides), "drift": audit_meaning.section(self.meaning, self.sides),
            "passes": crossed, "repetition": audit_sections.repetition(one, mine, self.placed) if one.rows.num_rows else None,
            "correlations": audit_sections.correlations(self.table),
            "examples": examples(one.rows, 10, self.config.seed) if one.rows.num_rows else None,
            "twins": pairs or audit_sections.twins(self.table, one, self.placed, self.config) or None,
            "provenance": [{"name": name, "value": value} for name, value in self._provenance()],
        }  # fmt: skip
        self._missing(sections)
        return sections

    def _missing(self, sections: Sections) -> None:
        """A word for every section that is null and was not told yet."""
        why = {
            "funnel": (_RUN_ONLY, "audit the run's folder"), "iterations": (_RUN_ONLY, "audit the run's folder"),
            "plane": ("too few subsets have 20 embedded rows of known quality", "audit judged rows at tier medium"),
            "drift": ("there is nothing to compare with", "--against OTHER"),
            "passes": ("no row has a pass rate", "map the verdicts: --column COLUMN=label"),
            "correlations": ("fewer than two numbers vary over 20 rows", "audit more rows"),
            "twins": ("no two rows resemble each other", "nothing: that is good"),
            "examples": ("there is no row", "give rows"), "repetition": ("there is no row", "give rows"),
        }  # fmt: skip
        told = " ".join(gap["what"] for gap in self.gaps)
        for name, (reason, mend) in why.items():
            if sections[name] is None and name not in told:  # type: ignore[literal-required]
                self.gaps.append({"what": name, "why": reason, "mend": mend})
        if not self.now[0].rows.num_rows:
            self.gaps.insert(0, {"what": "everything", "why": "there is no row", "mend": "give rows"})
        elif text_of(self.now[0].rows).null_count == self.now[0].rows.num_rows:
            mend = "name the columns: --prompt COLUMN --completion COLUMN"
            self.gaps.insert(0, {"what": "texts", "why": "no row has a text", "mend": mend})

    def _provenance(self) -> list[tuple[str, str]]:
        found = [("ratoon", version("ratoon")), ("python", platform.python_version()), ("seed", str(self.config.seed)),
                 ("tier", self.config.tier)]  # fmt: skip
        for (one, _), name in zip(self.sides, ("subject", "against"), strict=False):
            found += [(f"{name} digest", one.digest), (f"{name} rows", f"{one.rows.num_rows} of {one.total}")]
            found += [(f"{name}: note", note) for note in one.notes]
        if self.meaning.regions is not None:
            model = next((m.params["model"] for m in self.numbers.values() if "model" in m.params), "")
            found += [("embedding model", f"{self.config.measure.embedding.model} {model}"),
                      ("map", self.meaning.regions.book.fingerprint),
                      ("embedded rows a side", str(len(self.meaning.placed[0].at)))]  # fmt: skip
        return found


def _places(placed: Placed | None) -> list[tuple[str, Any, pa.DataType]]:
    one = placed or Placed(*[np.zeros(0)] * 6)  # type: ignore[arg-type]
    xy = one.xy if placed is not None else np.zeros((0, 2))
    return [("cluster", one.region, pa.int64()), ("x", xy[:, 0], pa.float64()), ("y", xy[:, 1], pa.float64()),
            ("nearest", one.nearest, pa.float64()), ("novelty", one.novelty, pa.float64())]  # fmt: skip


def _merged(notes: list[Finding]) -> list[Finding]:
    """One note for all changes that the sample is too small for."""
    if len(notes) < 2:
        return notes
    evidence = {name: value for one in notes for name, value in one.evidence.items()}
    return [notes[0]._replace(message="; ".join(one.message for one in notes), evidence=evidence)]


def _pointed(report: Report) -> list[str]:
    """Ids of rows that the report points to, the most wanted first."""
    sections = report["sections"]
    found = [i for w in report["warnings"] for i in w["row_ids"]]
    if (picked := sections["examples"]) is not None:
        found += [*picked["best"], *picked["worst"], *picked["random"], *picked["borderline"]]
    found += [i for t in sections["twins"] or () for i in (t["rejected"], t["kept"])]
    if (drift := sections["drift"]) is not None:
        found += [r["row_id"] for r in [*drift["lost"], *drift["new"]]]
    return found


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
