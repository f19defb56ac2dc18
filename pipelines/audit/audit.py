"""The audit: what is wrong first. Reads a run, a dataset or a stranger's file, measures, warns, and writes report.json.

Numbers come from `metrics/`; here they are gathered for one side or two. Nothing is written into what is audited. The rows
with all that is known of each go to `metrics.parquet` (table `rows` of `ratoon sql`), where every warning's SQL runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ratoon.config import Config, apply_sets, parse
from ratoon.metrics.page import render
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.audit.report import Audited, Say, facts, report
from ratoon.pipelines.audit.row_flags import Known, known
from ratoon.pipelines.audit.side import Side, held_of, kind_of, side
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.store.files import explained
from ratoon.store.store import Store


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
    """Audit what lies at `subject` (a run, a dataset, a file or a folder), compared with `against`; a report and its rows.

    A run is compared with its own round before where no `against` is given. `iteration` and `against_iteration` are rounds
    of runs, the newest where they are not given.
    Raises UsageError for what is not there, DataError for what cannot be read at all or a column that is not there.
    """
    config = config or configured(subject)
    say(f"reading {subject}")
    now = side(subject, columns or {}, config, iteration)
    was = _other(now, against, against_iteration, columns or {}, config, say)
    held = held_of(config.benchmarks, now.held)
    sides: list[tuple[Side, Known]] = []
    for each in (now, *([was] if was else [])):
        say(f"counting {each.rows.num_rows} rows of {each.name}")
        sides.append((each, known(each, config, held)))
    return report(facts(sides, config, say))


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


def write(audited: Audited, out: Path) -> list[Path]:
    """Write the page `out` (its folder is made), with `report.json` and `metrics.parquet` beside it; the three paths.

    Raises MissingExtra where what draws the page is not installed: the other two are there then.
    """
    folder = out.parent
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path, rows = folder / "report.json", folder / "metrics.parquet"
        text = json.dumps(audited.report, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False)
        path.write_text(text + "\n", encoding="utf-8")
        pq.write_table(audited.rows, rows, compression="zstd", write_page_checksum=True)
        out.write_text(render(audited.report), encoding="utf-8")
    return [out, path, rows]
