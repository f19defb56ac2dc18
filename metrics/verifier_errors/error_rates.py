"""How often each verifier errs, measured on planted replies; knows no flow, and corrects nothing.

A rate's interval is Wilson's. Replies of one task are no independent trials: where tasks are fewer than replies, the
interval is that of as many trials as there are tasks. Verdicts that are neither pass nor fail leave the rates and are counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import schema
from ratoon.config import Config, operational
from ratoon.metrics.stats.estimators import Estimate, wilson_columns
from ratoon.metrics.verifier_errors import planted
from ratoon.metrics.verifier_errors.planted import Probe
from ratoon.metrics.verifiers.pool import Item, VerifierPool


class FloorConfig(Config):
    """The floor of one verifier."""

    max_fpr: float = Field(0.05, ge=0, le=1, description="largest share of planted wrong answers that may pass")
    max_fnr: float = Field(0.10, ge=0, le=1, description="largest share of planted right answers that may fail")


class MeasureConfig(Config):
    """What is planted before each verifier, and what it must reach before a model is asked."""

    probes: int = Field(200, ge=0, description="right replies planted per verifier, and as many wrong ones; 0 measures nothing")
    max_fpr: float = Field(0.05, ge=0, le=1, description="largest share of planted wrong answers that may pass")
    max_fnr: float = Field(0.10, ge=0, le=1, description="largest share of planted right answers that may fail")
    floors: dict[str, FloorConfig] = Field({}, description="other floors by the verifier's name")
    override: bool = operational(False, description="go on with a verifier below its floor; recorded in table `state`")

    def floor(self, verifier: str) -> FloorConfig:
        """The floor that holds for a verifier."""
        return self.floors.get(verifier) or FloorConfig(max_fpr=self.max_fpr, max_fnr=self.max_fnr)


class Format(NamedTuple):
    """One way of saying it: how many were judged, and on how many the verifier erred."""

    right: bool
    trap: bool
    format: str
    n: int
    errors: int


class Measured(NamedTuple):
    """A verifier's rates on usual replies (None where nothing was judged), and each format's counts, traps included."""

    verifier: str
    version: str
    fpr: Estimate | None
    fnr: Estimate | None
    unjudged: int
    formats: tuple[Format, ...]

    @property
    def tpr(self) -> Estimate | None:
        """1 - FNR."""
        return self.fnr and Estimate(1 - self.fnr.value, 1 - self.fnr.hi, 1 - self.fnr.lo, self.fnr.n)


def measure(tasks: pa.Table, pool: VerifierPool, config: MeasureConfig, seed: int) -> list[Measured]:
    """One `Measured` per verifier of `tasks`, by name; none where nothing is planted."""
    probes = planted.plant(tasks, config.probes, seed)
    verdicts = pool.run([Item(p.verifier, p.text, p.answer, p.args) for p in probes])
    judged: dict[str, list[tuple[Probe, str]]] = {}
    for probe, verdict in zip(probes, verdicts, strict=True):
        judged.setdefault(probe.verifier, []).append((probe, verdict.status))
    return [_measured(name, pool.version(name), rows) for name, rows in sorted(judged.items())]


def rate(errors: int, n: int, clusters: int) -> Estimate | None:
    """A share with Wilson's interval over at most `clusters` trials; None of nothing.

    >>> [round(x, 4) for x in rate(0, 60, 30)]
    [0.0, 0.0, 0.1135, 60]
    """
    if not n:
        return None
    trials = min(n, clusters)
    lo, hi = wilson_columns(np.array([errors * trials / n]), np.array([float(trials)]))
    return Estimate(errors / n, float(lo[0]), float(hi[0]), n)


def _measured(name: str, version: str, rows: Sequence[tuple[Probe, str]]) -> Measured:
    decided = [(probe, status) for probe, status in rows if status in ("pass", "fail")]

    def of(right: bool) -> Estimate | None:
        mine = [(probe, status) for probe, status in decided if probe.right is right and not probe.trap]
        wrong = sum(_errs(probe, status) for probe, status in mine)
        return rate(wrong, len(mine), len({probe.task_id for probe, _ in mine}))

    return Measured(name, version, of(False), of(True), len(rows) - len(decided), _formats(decided))


def _errs(probe: Probe, status: str) -> bool:
    return probe.right is not (status == "pass")


def _formats(decided: Sequence[tuple[Probe, str]]) -> tuple[Format, ...]:
    counts: dict[tuple[bool, bool, str], list[int]] = {}
    for probe, status in decided:
        found = counts.setdefault((probe.right, probe.trap, probe.format), [0, 0])
        found[0] += 1
        found[1] += _errs(probe, status)
    rows = [Format(*key, n, errors) for key, (n, errors) in counts.items()]
    return tuple(sorted(rows, key=lambda f: (not f.right, f.trap, -f.errors, f.format)))


def below(found: Measured, floor: FloorConfig) -> list[str]:
    """Why a verifier is below its floor, one sentence a rate; empty when it is not, or was not measured."""
    said = []
    for estimate, most, what in (
        (found.fpr, floor.max_fpr, "wrong answers pass"),
        (found.fnr, floor.max_fnr, "right ones fail"),
    ):
        if estimate is not None and estimate.value > most:
            worst = max((f for f in found.formats if not f.trap and f.right is (estimate is found.fnr)), key=lambda f: f.errors)
            said.append(
                f"{estimate.value:.1%} of {estimate.n} planted {what} (95 % {estimate.lo:.1%} to {estimate.hi:.1%}), "
                f"more than {most:.1%}; most often {worst.format!r}, {worst.errors} of {worst.n}"
            )
    return said


def table(found: Sequence[Measured], seed: int) -> pa.Table:
    """Table `measures`: planted FPR and FNR of each verifier, with the counts by format in `params`."""
    rows: list[dict[str, Any]] = []
    for one in found:
        params = json.dumps({"unjudged": one.unjudged, "formats": [f._asdict() for f in one.formats]}, ensure_ascii=False)
        common = {"scope_kind": "verifier", "scope_id": one.verifier, "version": one.version, "seed": seed,
                  "fingerprint": planted.VERSION, "params": params}  # fmt: skip
        for metric, estimate in (("planted_fpr", one.fpr), ("planted_fnr", one.fnr)):
            if estimate is not None:
                rows.append(common | {"metric": metric} | estimate._asdict())
    return schema.from_rows("measures", rows)


def read(measures: pa.Table) -> list[Measured]:
    """What `table` wrote, read back; rows of other metrics are passed over."""
    found: dict[str, dict[str, Any]] = {}
    for row in measures.to_pylist():
        if row["scope_kind"] == "verifier" and row["metric"] in ("planted_fpr", "planted_fnr"):
            one = found.setdefault(row["scope_id"], {"version": row["version"], "params": json.loads(row["params"])})
            one[row["metric"]] = Estimate(row["value"], row["lo"], row["hi"], row["n"])
    return [
        Measured(
            name, one["version"], one.get("planted_fpr"), one.get("planted_fnr"), one["params"]["unjudged"],
            tuple(Format(**f) for f in one["params"]["formats"]),
        )
        for name, one in sorted(found.items())
    ]  # fmt: skip
