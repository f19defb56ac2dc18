"""What changed between two datasets, rounds of runs, or files: rows, decisions, numbers at equal n; and rules on all of it.

Sides are read as the audit reads them. Rows of one run are matched by id, all others by content, equal rows counted. Nothing
is written, and no model is asked but the embedding model (tier medium).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.metrics.report import diff as difference
from ratoon.metrics.report.diff import Changes
from ratoon.metrics.stats.measures import Measure
from ratoon.pipelines.audit import embedded as audit_meaning
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.audit import side as audit_side
from ratoon.pipelines.audit.row_changes import row_changes
from ratoon.pipelines.audit.row_flags import Known, known
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.sft.data import dataset
from ratoon.store.store import Store

FORMAT = "ratoon-diff/1"
SHOWN = 10  # rows of each kind that are told with their texts
CUT = 400  # characters of a text that are told
_ROUND = re.compile(r"(.+)@(\d+)")
Say = Callable[[str], None]


class Diff(NamedTuple):
    """The comparison as JSON, and whether a rule failed."""

    told: dict[str, Any]
    failed: bool


class _Read(NamedTuple):
    """A side, its run, and the decisions on its rows and on those it left out, with the reasons of drops."""

    side: Side
    run_id: str | None
    decisions: dict[str, str] | None
    held: pa.Table


def diff(
    old: str, new: str, rules: Sequence[str] = (), *, config: AuditConfig | None = None,
    columns: Mapping[str, str] | None = None, say: Say = lambda _: None,
) -> Diff:  # fmt: skip
    """`new` against `old`: each a dataset folder, a run (its newest round, or RUN@ROUND), a file or a folder of files.

    Raises UsageError for what is not there or a rule that is none, DataError for what cannot be read.
    """
    parsed = [difference.parse(text) for text in rules]
    config = config or AuditConfig(tier="cheap")
    if any(rule.embeds for rule in parsed):
        config = config.model_copy(update={"tier": "medium"})
    a, b = (_read(text, columns or {}, config, say) for text in (old, new))
    numbers, contaminated = _measured([a, b], config, say)
    found, left = difference.differences(*numbers)
    old_keys, new_keys = _keys(a, b)
    changes = _changes(a, b, old_keys, new_keys)
    whole = all(one.side.rows.num_rows == one.side.total for one in (a, b))
    shares = difference.shares(changes, a.side.total, b.side.total, contaminated)
    if not whole:
        shares |= dict.fromkeys(("rows_added", "rows_removed", "decisions_changed"))
    paths = _where(old)[0], _where(new)[0]
    cells = row_changes(paths[0], paths[1], columns or {}) if whole and _are_files(a, b) else None
    shares["rows_changed"] = cells.changed / a.side.total if cells is not None and a.side.total else None
    verdicts = [difference.judge(rule, shares, found, left) for rule in parsed]
    told = {
        "format": FORMAT, "old": _subject(a), "new": _subject(b), "matched_by": "id" if _same_run(a, b) else "content",
        "rows": shares | {"added": len(changes.added), "removed": len(changes.removed), "common": changes.common,
                          "decided_anew": None if changes.changed is None else len(changes.changed),
                          "changed": None if cells is None else cells.changed},
        "columns": None if cells is None else cells.columns,
        "spelled_otherwise": None if cells is None else cells.spelled,
        "differences": [difference.as_dict(one) for one in found],
        "not_compared": [{"metric": name, "why": why} for name, why in left.items()],
        "rules": [difference.as_dict(one) for one in verdicts],
        "examples": _examples(a, b, old_keys, new_keys, changes),
    }  # fmt: skip
    return Diff(told, any(one.fails for one in verdicts))


def _are_files(*read: _Read) -> bool:
    return all(one.side.kind in ("file", "folder") for one in read)


def _read(text: str, columns: Mapping[str, str], config: AuditConfig, say: Say) -> _Read:
    path, iteration = _where(text)
    say(f"reading {text}")
    side = audit_side.side(path, columns, config, iteration)
    if side.kind == "dataset":
        info = dataset.read_info(path)
        around = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path
        decided, held = _of_run(around, info.run_id, info.dataset_id, info.iteration)
        return _Read(side, info.run_id, decided, held if held is not None else side.held)
    run_id = Store.open(path).run_id if side.kind == "run" else None
    rows = side.rows.filter(pc.is_valid(side.rows["decision"]))
    decided = _said(rows["row_id"], rows["decision"], rows["reason"]) if rows.num_rows else None
    return _Read(side, run_id, decided, side.held)


def _where(text: str) -> tuple[Path, int | None]:
    """A path, and the round of RUN@ROUND."""
    found = _ROUND.fullmatch(text)
    if found is not None and not Path(text).exists():
        return Path(found[1]), int(found[2])
    return Path(text), None


def _of_run(root: Path, run_id: str | None, dataset_id: str, iteration: int) -> tuple[dict[str, str] | None, pa.Table | None]:
    """The decisions of the curation that made a dataset, and its run's held-out items; None once it lies elsewhere."""
    if not (root / "run.json").exists():
        return None, None
    store = Store.open(root)
    made = [m for m in store.find("curate") if m.extra.get("dataset_id") == dataset_id]
    if store.run_id != run_id or not made:
        return None, None
    rows = store.read("decisions", made, ["subject_kind", "subject_id", "keep", "reason", "filter", "step"])
    rows = rows.filter(pc.equal(rows["subject_kind"], "rollout")).sort_by("step")
    kinds = pc.if_else(pc.fill_null(rows["keep"], True), "kept", "dropped")
    return _said(rows["subject_id"], kinds, pc.coalesce(rows["reason"], rows["filter"])), audit_run.held(store, iteration)


def _said(ids: pa.ChunkedArray, kinds: pa.ChunkedArray, reasons: pa.ChunkedArray) -> dict[str, str]:
    """The last decision on each row: `kept`, or `dropped: REASON`."""
    listed = zip(ids.to_pylist(), kinds.to_pylist(), reasons.to_pylist(), strict=True)
    return {id: f"{kind}: {reason}" if kind == "dropped" and reason else str(kind) for id, kind, reason in listed}


def _measured(read: list[_Read], config: AuditConfig, say: Say) -> tuple[list[dict[str, Measure]], int | None]:
    """Numbers of both sides, old first, and how many new rows hold an item of an evaluation set."""
    held = audit_side.held_of(config.benchmarks, *(one.held for one in read))
    sides: list[tuple[Side, Known]] = []
    for one in reversed(read):  # the newer first, as the audit has its subject
        say(f"counting {one.side.rows.num_rows} rows of {one.side.name}")
        sides.append((one.side, known(one.side, config, held)))
    words, meaning = audit_meaning.words(sides, config), audit_meaning.meaning(sides, config)
    new = sides[0][1].numbers | words[0] | {k: v for k, v in meaning.now.items() if k in meaning.was}
    old = sides[1][1].numbers | words[1] | meaning.was
    hit = sides[0][1].numbers.get("contamination.rows")
    return [old, new], None if hit is None or hit.value is None else round(hit.value * hit.n)


def _same_run(a: _Read, b: _Read) -> bool:
    return a.run_id is not None and a.run_id == b.run_id


def _keys(a: _Read, b: _Read) -> tuple[list[str], list[str]]:
    """The key of each row of either side, in order: ids of one run, else contents, equal ones numbered."""
    if _same_run(a, b):
        return a.side.rows["row_id"].to_pylist(), b.side.rows["row_id"].to_pylist()
    return _contents(a.side.rows), _contents(b.side.rows)


def _contents(rows: pa.Table) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for prompt, completion in zip(rows["prompt"].to_pylist(), rows["completion"].to_pylist(), strict=True):
        what = "\x1e".join("\x00" if part is None else part for part in (prompt, completion))
        name = blake2b(what.encode("utf-8", "replace"), digest_size=16).hexdigest()
        seen[name] += 1
        found.append(f"{name}#{seen[name]}")
    return found


def _changes(a: _Read, b: _Read, old: list[str], new: list[str]) -> Changes:
    decisions = (a.decisions, b.decisions) if _same_run(a, b) else (_by_key(a, old), _by_key(b, new))
    return difference.changes(pa.array(old, pa.string()), pa.array(new, pa.string()), *decisions)


def _by_key(one: _Read, keys: list[str]) -> dict[str, str] | None:
    """Decisions on the rows a side holds, by their content."""
    if one.decisions is None:
        return None
    named = zip(keys, one.side.rows["row_id"].to_pylist(), strict=True)
    return {key: one.decisions[id] for key, id in named if id in one.decisions}


def _examples(a: _Read, b: _Read, old: list[str], new: list[str], changes: Changes) -> dict[str, list[dict[str, Any]]]:
    """The first rows of each kind in key order: keys are hashes, so these are as good as drawn."""
    changed = sorted(changes.changed or {})[:SHOWN]
    decided = {key: f"{was} → {now}" for key, (was, now) in (changes.changed or {}).items()}
    gone = b.decisions if _same_run(a, b) else None
    return {
        "added": _rows(b, new, changes.added.slice(0, SHOWN).to_pylist(), {}),
        "removed": _rows(a, old, changes.removed.slice(0, SHOWN).to_pylist(), gone or {}),
        "decided_anew": _rows(b, new, changed, decided) or _rows(a, old, changed, decided),
    }


def _rows(one: _Read, keys: list[str], wanted: list[str], why: Mapping[str, str]) -> list[dict[str, Any]]:
    place = {key: i for i, key in enumerate(keys)} if wanted else {}
    at = [key for key in wanted if key in place]
    rows = one.side.rows.take(pa.array([place[key] for key in at], pa.int64())).select(["row_id", "prompt", "completion"])
    return [
        {"row_id": row["row_id"], "why": why.get(key), "prompt": _cut(row["prompt"]), "completion": _cut(row["completion"])}
        for key, row in zip(at, rows.to_pylist(), strict=True)
    ]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= CUT else f"{text[: CUT - 1]}…"


def _subject(one: _Read) -> dict[str, Any]:
    side = one.side
    return {"kind": side.kind, "name": side.name, "rows": side.total, "compared": side.rows.num_rows, "digest": side.digest,
            "columns": side.columns, "notes": list(side.notes)}  # fmt: skip
