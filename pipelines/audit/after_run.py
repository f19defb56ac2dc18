"""The audits that a run ends with, in RUN/reports: its last round against its first, and its last dataset against its first.

They judge the run and are no part of it: one that fails is told and stops nothing. A page is written again only when the run's
history or the audit's settings changed since.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ratoon.ids import digest
from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.store.store import Store

Say = Callable[[str], None]
_MADE_OF = "made of"  # the fact in the report's provenance that says whether it is still true


class Page(NamedTuple):
    """An audit that lies in the run's folder: `counts` are its warnings by severity."""

    path: Path
    title: str
    worst: str | None
    codes: list[str]
    counts: dict[str, int]

    @property
    def told(self) -> str:
        """`1 stop, 2 warn`, or that there is none."""
        return ", ".join(f"{n} {severity}" for severity, n in self.counts.items() if n) or "no warning"


class _Wanted(NamedTuple):
    name: str
    subject: Path
    against: Path | None
    round_before: int | None = None


def write_audits(store: Store, config: AuditConfig, say: Say) -> list[Page]:
    """The pages of a finished run; those that still hold are left as they are. None where `at_end` is off."""
    if config.at_end == "off":
        return []
    settings = config.model_copy(update={"tier": config.at_end})
    made_of = digest([len(store.commits()), settings.model_dump(mode="json")])
    for page_to_write in _wanted(store):
        folder = store.root / "reports" / page_to_write.name
        if (folder / "report.html").exists() and _fact(folder / "report.json") == made_of:
            continue
        try:
            _write(page_to_write, settings, folder, made_of)
        except Exception as error:  # whatever it is: the run is done and right
            first = str(error).partition("\n")[0] or type(error).__name__
            say(f"the audit failed and the run did not: {first}; again by `ratoon audit {page_to_write.subject}`")
    return pages(store.root)


def pages(root: Path) -> list[Page]:
    """The audits that lie in a run's folder."""
    audits = []
    for path in sorted((root / "reports").glob("*/report.json")):
        with suppress(OSError, ValueError, KeyError):
            audits.append(_page(path))
    return audits


def _page(path: Path) -> Page:
    report = json.loads(path.read_text(encoding="utf-8"))
    warnings = report["warnings"]
    counts = {severity: sum(w["severity"] == severity for w in warnings) for severity in ("stop", "warn", "note")}
    html = path.with_name("report.html")
    codes = [w["code"] for w in warnings]
    return Page(html if html.exists() else path, report["title"], warnings[0]["message"] if warnings else None, codes, counts)


def _wanted(store: Store) -> list[_Wanted]:
    rounds = sorted({m.iteration or 0 for m in store.find("groups") if m.shard == "train"})
    audits = [_Wanted("audit", store.root, store.root if len(rounds) > 1 else None, rounds[0])] if rounds else []
    kept = [store.root / "datasets" / "default" / str(i) for i in rounds]
    datasets = [folder for folder in kept if folder.is_dir()]
    if len(datasets) > 1:
        audits.append(_Wanted("audit-dataset", datasets[-1], datasets[0]))
    return audits


def _write(page: _Wanted, config: AuditConfig, folder: Path, made_of: str) -> None:
    audited = auditing.audit(page.subject, page.against, config=config, against_iteration=page.round_before)
    audited.report["sections"]["provenance"].append({"name": _MADE_OF, "value": made_of})
    auditing.write(audited, folder / "report.html")


def _fact(path: Path) -> Any:
    """What a report was made of, as its provenance says; None where no report can be read."""
    with suppress(OSError, ValueError, KeyError):
        facts = json.loads(path.read_text(encoding="utf-8"))["sections"]["provenance"]
        return next((fact["value"] for fact in facts if fact["name"] == _MADE_OF), None)
    return None
