"""How often each verifier errs, measured on planted replies; knows no flow, and corrects nothing.

A rate's interval is Wilson's, that of J = TPR - FPR (Youden, 1950) the square-and-add of both (Newcombe, 1998, method 10). J is
the share of the information that a verdict keeps: 0 says nothing. Replies of one task are no independent trials: where tasks
are fewer than replies, the interval is that of as many trials as there are tasks. Verdicts that are neither pass nor fail leave
the rates and are counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import hypot
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

_MIN_J = "least lower bound of J = TPR - FPR; J itself where tasks are too few for any bound to reach it"
_MAX_FPR = "largest share of planted wrong answers that may pass"
_MAX_FNR = "largest share of planted right answers that may fail; null: as many as `min_j` allows"
_ALWAYS = 3  # so many wrong replies of a kind that all pass are no chance


class FloorConfig(Config):
    """The floor of one verifier."""

    min_j: float = Field(0.7, ge=-1, le=1, description=_MIN_J)
    max_fpr: float = Field(0.02, ge=0, le=1, description=_MAX_FPR)
    max_fnr: float | None = Field(None, ge=0, le=1, description=_MAX_FNR)


class MeasureConfig(Config):
    """What is planted before each verifier, and what it must reach before a model is asked."""

    probes: int = Field(200, ge=0, description="right replies planted per verifier, and as many wrong ones; 0 measures nothing")
    mutants: int = Field(
        5, ge=0, description="wrong programs made of each gold program, to see whether its task's tests fail them; 0 makes none"
    )
    min_j: float = Field(0.7, ge=-1, le=1, description=_MIN_J)
    max_fpr: float = Field(0.02, ge=0, le=1, description=_MAX_FPR)
    max_fnr: float | None = Field(None, ge=0, le=1, description=_MAX_FNR)
    floors: dict[str, FloorConfig] = Field({}, description="other floors by the verifier's name")
    override: bool = operational(False, description="go on with a verifier below its floor; recorded in table `state`")

    def floor(self, verifier: str) -> FloorConfig:
        """The floor that holds for a verifier."""
        return self.floors.get(verifier) or FloorConfig(min_j=self.min_j, max_fpr=self.max_fpr, max_fnr=self.max_fnr)


class Format(NamedTuple):
    """One way of saying it: how many were judged, and on how many the verifier erred.

    `asked`: its arguments ask for it.
    """

    right: bool
    trap: bool
    format: str
    n: int
    errors: int
    family: str = ""
    asked: bool = True


class Family(NamedTuple):
    """The rates on one family of wordings; None where nothing of the kind was judged."""

    family: str
    asked: bool
    fpr: Estimate | None
    fnr: Estimate | None

    @property
    def j(self) -> Estimate | None:
        """TPR - FPR."""
        return youden(self.fpr, self.fnr)


class Measured(NamedTuple):
    """A verifier's rates on usual replies (None where nothing was judged), each format's counts, traps included, the rates by
    family of wordings, worst first, and how many tasks there were (0: unknown)."""

    verifier: str
    version: str
    fpr: Estimate | None
    fnr: Estimate | None
    unjudged: int
    formats: tuple[Format, ...]
    families: tuple[Family, ...] = ()
    tasks: int = 0

    @property
    def j(self) -> Estimate | None:
        """TPR - FPR."""
        return youden(self.fpr, self.fnr)

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
    return [of_verdicts(name, pool.version(name), rows) for name, rows in sorted(judged.items())]


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


def youden(fpr: Estimate | None, fnr: Estimate | None) -> Estimate | None:
    """J = TPR - FPR with its interval; None where one of the two is.

    >>> [round(x, 4) for x in youden(rate(0, 200, 200), rate(0, 200, 200))]
    [1.0, 0.9733, 1.0, 200]
    """
    if fpr is None or fnr is None:
        return None
    j = 1 - fnr.value - fpr.value
    below = hypot(fnr.hi - fnr.value, fpr.hi - fpr.value)
    above = hypot(fnr.value - fnr.lo, fpr.value - fpr.lo)
    return Estimate(j, j - below, j + above, min(fpr.n, fnr.n))


def of_verdicts(name: str, version: str, rows: Sequence[tuple[Probe, str]]) -> Measured:
    """The rates of whatever gave these statuses to planted replies."""
    decided = [(probe, status) for probe, status in rows if status in ("pass", "fail")]
    usual = [(probe, status) for probe, status in decided if probe.asked and not probe.trap]
    families = tuple(_families([(probe, status) for probe, status in decided if not probe.trap]))
    unjudged = len(rows) - len(decided)
    tasks = len({probe.task_id for probe, _ in usual})
    return Measured(name, version, _rate(usual, False), _rate(usual, True), unjudged, _formats(decided), families, tasks)


def _rate(rows: Sequence[tuple[Probe, str]], right: bool) -> Estimate | None:
    """The share of right (or wrong) replies on which the verifier erred."""
    mine = [(probe, status) for probe, status in rows if probe.right is right]
    return rate(sum(_errs(*row) for row in mine), len(mine), len({probe.task_id for probe, _ in mine}))


def _families(rows: Sequence[tuple[Probe, str]]) -> list[Family]:
    """The rates by family, worst first: least J, then most false positives."""
    by_family: dict[tuple[str, bool], list[tuple[Probe, str]]] = {}
    for row in rows:
        by_family.setdefault((row[0].family, row[0].asked), []).append(row)
    found = [Family(family, asked, _rate(part, False), _rate(part, True)) for (family, asked), part in by_family.items()]
    return sorted(found, key=lambda one: (_worth(one), not one.asked, one.family))


def _worth(one: Family) -> float:
    """J; where one of the two rates is unknown it counts as 0."""
    return 1 - sum(rate.value for rate in (one.fpr, one.fnr) if rate is not None)


def _errs(probe: Probe, status: str) -> bool:
    return probe.right is not (status == "pass")


def _formats(decided: Sequence[tuple[Probe, str]]) -> tuple[Format, ...]:
    counts: dict[tuple[bool, bool, str, str, bool], list[int]] = {}
    for probe, status in decided:
        found = counts.setdefault((probe.right, probe.trap, probe.format, probe.family, probe.asked), [0, 0])
        found[0] += 1
        found[1] += _errs(probe, status)
    rows = [
        Format(right, trap, name, n, errors, family, asked)
        for (right, trap, name, family, asked), (n, errors) in counts.items()
    ]
    return tuple(sorted(rows, key=lambda f: (not f.right, f.trap, not f.asked, -f.errors, f.format)))


def below(found: Measured, floor: FloorConfig) -> list[str]:
    """Why a verifier is below its floor, one sentence a reason; empty when it is not, or was not measured."""
    said = []
    for estimate, most, what in (
        (found.fpr, floor.max_fpr, "wrong answers pass"),
        (found.fnr, 1.0 if floor.max_fnr is None else floor.max_fnr, "right ones fail"),
    ):
        if estimate is not None and estimate.value > most:
            said.append(
                f"{estimate.value:.1%} of {estimate.n} planted {what} (95 % {estimate.lo:.1%} to {estimate.hi:.1%}), "
                f"more than {most:.1%}; most often {_worst(found, estimate is found.fnr)}"
            )
    if found.j is not None and not _reaches(found, floor.min_j):
        said.append(
            f"J = {found.j.value:.2f} (95 % {found.j.lo:.2f} to {found.j.hi:.2f}) is not surely {floor.min_j:.2f}: "
            f"of right replies it misreads most often {_worst(found, True)}"
        )
    said += [f"wrong replies in the wording {name!r} pass always ({n} of {n})" for name, n in always_passes(found)]
    return said


def _reaches(found: Measured, least: float) -> bool:
    """Whether the lower bound of J is at least that; J itself where even a verifier without error had too low a bound."""
    if found.j is None or found.fpr is None or found.fnr is None:
        return True
    flawless = youden(*(rate(0, one.n, found.tasks or one.n) for one in (found.fpr, found.fnr)))
    return found.j.lo >= least or (flawless is not None and flawless.lo < least <= found.j.value)


def _worst(found: Measured, right: bool) -> str:
    """The usual format that is misread most, and how often."""
    formats = [f for f in found.formats if f.asked and not f.trap and f.right is right]
    worst = max(formats, key=lambda f: (f.errors, f.errors / f.n))
    return f"{worst.format!r}, {worst.errors} of {worst.n}"


def always_passes(found: Measured) -> list[tuple[str, int]]:
    """Wordings whose wrong replies all pass, asked for or not, with how many there were; traps are left out."""
    counts: dict[str, list[int]] = {}
    for f in found.formats:
        if not f.right and not f.trap:
            way, _, kind = f.format.partition(": ")
            for name in {f.format, way, kind or way}:
                counted = counts.setdefault(name, [0, 0])
                counted[0] += f.n
                counted[1] += f.errors
    return [(name, n) for name, (n, errors) in sorted(counts.items()) if n >= _ALWAYS and errors == n]


def table(found: Sequence[Measured], seed: int) -> pa.Table:
    """Table `measures`: planted FPR and FNR of each verifier, with the counts by format in `params`."""
    rows: list[dict[str, Any]] = []
    for one in found:
        told = {
            "unjudged": one.unjudged,
            "formats": [f._asdict() for f in one.formats],
            "families": one.families,
            "tasks": one.tasks,
        }
        params = json.dumps(told, ensure_ascii=False)
        common = {"scope_kind": "verifier", "scope_id": one.verifier, "version": one.version, "seed": seed,
                  "fingerprint": planted.VERSION, "params": params}  # fmt: skip
        for metric, estimate in (("planted_fpr", one.fpr), ("planted_fnr", one.fnr), ("planted_j", one.j)):
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
            tuple(_family(*f) for f in one["params"].get("families", ())),
            one["params"].get("tasks", 0),
        )
        for name, one in sorted(found.items())
    ]  # fmt: skip


def _family(family: str, asked: bool, *rates: Sequence[Any] | None) -> Family:
    fpr, fnr = (None if one is None else Estimate(*one) for one in rates)
    return Family(family, asked, fpr, fnr)
