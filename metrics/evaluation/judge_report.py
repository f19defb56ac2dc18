"""What a round's judgments are worth, in numbers: off-format share, agreement with itself, with verdicts, with mere length.

Knows the tables only. A judge's rate against the verifier is measured where both spoke; nothing is corrected by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.metrics.qdc.quality import judged
from ratoon.metrics.stats.calibration import auroc, rate
from ratoon.metrics.stats.correlation import spearman
from ratoon.metrics.stats.inter_rater import agreement
from ratoon.metrics.verifiers.judge import JudgeConfig

_SCOPE = "judge"


def report(
    judgments: pa.Table, verdicts: pa.Table, lengths: Mapping[str, int], config: JudgeConfig, *, iteration: int
) -> pa.Table:
    """Table `measures` of one round's `scores` rows of a judge; `verdicts` are the verifiers' (subject_id, status), `lengths`
    the characters of each rollout. A number that cannot be computed has no row.
    """
    rows = judgments.select(["subject_id", "other_id", "version", "repeat", "status", "value", "detail"]).to_pylist()
    if not rows:
        return schema.empty("measures")
    passed = {s: v == "pass" for s, v in _columns(verdicts, "subject_id", "status") if v in ("pass", "fail")}
    found = _shares(rows) | (
        _pairs(rows, passed) if config.kind == "pairwise" else _scores(judgments, rows, passed, lengths, config)
    )
    common = {"scope_kind": "iteration", "scope_id": _SCOPE, "iteration": iteration, "version": rows[0]["version"]}
    params = json.dumps({"kind": config.kind, "repeats": config.repeats})
    return schema.from_rows(
        "measures", [common | {"metric": name, "params": params} | values for name, values in found.items()]
    )


def abstained(measures: pa.Table) -> tuple[float, int] | None:
    """The share of judgments off format in a report, and of how many; None where nothing was judged."""
    found = measures.filter(pc.equal(measures["metric"], "judge_off_format")).to_pylist()
    return (found[0]["value"], found[0]["n"]) if found else None


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _shares(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    back = [row for row in rows if row["status"] != "error"]
    if not back:
        return {}
    off = sum(row["detail"] == "off format" for row in back)
    return {"judge_off_format": rate(off, len(back))._asdict()}


def _scores(
    judgments: pa.Table, rows: list[dict[str, Any]], passed: Mapping[str, bool], lengths: Mapping[str, int], config: JudgeConfig
) -> dict[str, dict[str, Any]]:
    """Of a rubric: mean score, agreement of repeats, how well it ranks right above wrong, how much it follows length."""
    units: dict[str, list[float | None]] = {}
    for row in rows:
        units.setdefault(row["subject_id"], []).append(row["value"])
    scored = {s: sum(v) / len(v) for s, given in units.items() if (v := [x for x in given if x is not None])}
    found: dict[str, dict[str, Any]] = {}
    if (mean := judged(judgments)) is not None:
        found["judge_score"] = mean._asdict()
    found |= _agreed(list(units.values()))
    both = [s for s in scored if s in passed]
    scale = config.high - config.low
    ranked = auroc([(scored[s] - config.low) / scale for s in both], [passed[s] for s in both]) if both else None
    if ranked is not None:
        found["judge_auroc"] = {"value": ranked, "n": len(both)}
    followed = spearman(list(scored.values()), [lengths.get(s, 0) for s in scored]) if len(scored) > 1 else None
    if followed is not None:
        found["judge_length_spearman"] = {"value": followed, "n": len(scored)}
    return found


def _agreed(units: list[list[float | None]]) -> dict[str, dict[str, Any]]:
    """Of digits: expected scores hardly ever meet, so they are rounded for raw agreement; alpha is of intervals."""
    exact = agreement(units, "interval")
    rounded = agreement([[None if v is None else float(round(v)) for v in unit] for unit in units])
    if exact is None or rounded is None:
        return {}
    found: dict[str, dict[str, Any]] = {"judge_raw_agreement": {"value": rounded.raw, "n": rounded.units}}
    return found | ({"judge_alpha": {"value": exact.alpha, "n": exact.units}} if exact.alpha is not None else {})


def _pairs(rows: list[dict[str, Any]], passed: Mapping[str, bool]) -> dict[str, dict[str, Any]]:
    """Of comparisons: the share that both orders agree on, and how often the right one of a right and a wrong reply wins."""
    read = [row for row in rows if row["status"] is None or (row["detail"] or "").startswith("inconsistent")]
    found: dict[str, dict[str, Any]] = {}
    if read:
        found["judge_consistent"] = rate(sum(row["status"] is None for row in read), len(read))._asdict()
    told = [
        (row["value"] == 1.0) == passed[row["subject_id"]]
        for row in read
        if row["status"] is None and passed.get(row["subject_id"]) is not passed.get(row["other_id"])
        and row["subject_id"] in passed and row["other_id"] in passed
    ]  # fmt: skip
    if told:
        found["judge_pair_accuracy"] = rate(sum(told), len(told))._asdict()
    units: dict[tuple[str, str], list[float | None]] = {}
    for row in rows:
        units.setdefault((row["subject_id"], row["other_id"]), []).append(row["value"])
    agreed = agreement(list(units.values()))
    if agreed is not None:
        found["judge_raw_agreement"] = {"value": agreed.raw, "n": agreed.units}
        found |= {"judge_alpha": {"value": agreed.alpha, "n": agreed.units}} if agreed.alpha is not None else {}
    return found
