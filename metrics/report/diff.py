"""Two sides of data compared: rows by key, numbers by their intervals, and rules that say which changes are failures. Pure.

A rule is `NAME OP LIMIT`, OP one of > >= < <=, and fails where it holds. NAME is a share of rows or a number of the data; a
number's limit is on its change (new - old), with % relative to the old value. A change whose interval holds 0 is no change:
it fails nothing. What a rule asks and nobody knows fails too: an unmeasured promise is none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import Unlike, UsageError
from ratoon.metrics.stats.measures import Measure, compare

ROWS = {
    "rows": "change of the number of rows, as a share of the old",
    "rows_added": "share of the new rows that the old side lacks",
    "rows_removed": "share of the old rows that the new side lacks",
    "rows_changed": "share of the old rows of files that have a partner and changed in any column",
    "decisions_changed": "share of the rows both decided on whose decision differs",
    "contamination": "new rows that hold an item of an evaluation set",
}
CHEAP = {
    "pass_rate": "quality.pass_rate", "all_right": "quality.all_right", "all_wrong": "quality.all_wrong",
    "reward": "quality.reward", "truncated": "quality.truncated", "empty": "quality.empty", "refusal": "quality.refusal",
    "other_language": "quality.other_language", "duplicates": "diversity.exact_duplicates",
    "near_duplicates": "diversity.near_duplicates", "template": "diversity.template", "gzip": "diversity.compression_gzip",
    "distinct_1": "diversity.distinct_1", "distinct_2": "diversity.distinct_2", "self_repetition": "diversity.self_repetition",
    "words": "complexity.words", "tokens": "complexity.n_tokens", "steps": "complexity.steps",
    "behaviours": "complexity.behaviours", "difficulty": "complexity.difficulty",
}  # fmt: skip
MEDIUM = {
    "vendi": "diversity.vendi", "rke": "diversity.rke", "clusters": "diversity.clusters",
    "knn_distance": "diversity.knn5_distance", "task_vendi": "diversity.task_vendi", "alpha": "diversity.alpha",
    "beta": "diversity.beta", "gamma": "diversity.gamma", "largest_cluster": "diversity.largest_cluster",
}  # fmt: skip
METRICS = CHEAP | MEDIUM
_RULE = re.compile(r"\s*([A-Za-z_][\w./]*)\s*(>=|<=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")


class Rule(NamedTuple):
    """One `--fail-on`: `limit` is a fraction where it is `relative`."""

    text: str
    name: str
    op: str
    limit: float
    relative: bool

    @property
    def embeds(self) -> bool:
        """Whether it asks for a number that takes an embedding model."""
        return self.name in MEDIUM or self.name in MEDIUM.values()


class Difference(NamedTuple):
    """One number of both sides: `change` is new - old with its 95 % interval, where there is one; `n` the smaller sample."""

    metric: str
    old: float
    new: float
    change: float
    lo: float | None
    hi: float | None
    n: int

    @property
    def detectable(self) -> bool | None:
        """Whether the interval leaves 0 out; None without an interval."""
        return None if self.lo is None or self.hi is None else not self.lo <= 0 <= self.hi


class Verdict(NamedTuple):
    """How a rule came out; `value` is what was held against its limit, null where nobody knows it."""

    rule: str
    fails: bool
    value: float | None
    lo: float | None
    hi: float | None
    why: str


class Changes(NamedTuple):
    """Row keys of one side only, those both have, and those whose decision differs with (old, new); null where unknown."""

    added: pa.Array
    removed: pa.Array
    common: int
    changed: dict[str, tuple[str, str]] | None
    decided: int


def parse(text: str) -> Rule:
    """A rule from its text. Raises UsageError on another form, or on a name that is none, listing the names."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise UsageError(f"--fail-on {text!r} is no rule", "NAME > LIMIT, for example rows_removed>0.05 or vendi<-10%")
    name, op, limit, percent = found.groups()
    if name in ROWS and name == "contamination" and percent:
        raise UsageError(f"--fail-on {text!r}: contamination is a number of rows", "for example contamination>0")
    if name not in ROWS and name not in METRICS and "." not in name:
        near = difflib.get_close_matches(name, [*ROWS, *METRICS], n=1)
        known = f"the names: {', '.join([*ROWS, *METRICS])}; or a number's whole name, such as quality.echo"
        raise UsageError(f"--fail-on {text!r}: there is no {name!r}", (f"did you mean {near[0]}? " if near else "") + known)
    return Rule(text.strip(), name, op, float(limit) / (100 if percent else 1), bool(percent))


def changes(
    old: pa.Array, new: pa.Array, before: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None
) -> Changes:
    """What happened between two sets of unique keys, in key order, and to the decisions on keys that both sides decided."""
    added = new.filter(pc.invert(pc.is_in(new, value_set=old)))
    removed = old.filter(pc.invert(pc.is_in(old, value_set=new)))
    both = sorted(set(before) & set(after)) if before is not None and after is not None else []
    known = before is not None and after is not None and bool(both)
    changed = {k: (before[k], after[k]) for k in both if before[k] != after[k]} if known else None  # type: ignore[index]
    return Changes(_sorted(added), _sorted(removed), len(new) - len(added), changed, len(both))


def _sorted(keys: pa.Array) -> pa.Array:
    return keys.take(pc.sort_indices(keys))


def shares(found: Changes, old: int, new: int, contaminated: int | None) -> dict[str, float | None]:
    """The values of ROWS; null where there is nothing to be a share of."""
    return {
        "rows": (new - old) / old if old else None,
        "rows_added": len(found.added) / new if new else None,
        "rows_removed": len(found.removed) / old if old else None,
        "decisions_changed": len(found.changed) / found.decided if found.changed is not None else None,
        "contamination": None if contaminated is None else float(contaminated),
    }


def differences(old: Mapping[str, Measure], new: Mapping[str, Measure]) -> tuple[list[Difference], dict[str, str]]:
    """Every number both sides have, made alike, in name order; and by name why others were not compared."""
    found, left = list[Difference](), dict[str, str]()
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if a is None or b is None or a.value is None or b.value is None:
            left[name] = f"unknown on the {'old' if a is None or a.value is None else 'new'} side"
            continue
        if a.fingerprint != b.fingerprint:
            left[name] = _unlike(a, b)
            continue
        change = b.value - a.value
        if a.estimate is None or b.estimate is None:
            found.append(Difference(name, a.value, b.value, change, None, None, min(a.n, b.n)))
        else:
            told = compare(b, a)
            found.append(Difference(name, a.value, b.value, change, told.lo, told.hi, told.n))
    return found, left


def _unlike(a: Measure, b: Measure) -> str:
    try:
        compare(b, a)
    except Unlike as error:
        return error.message
    return ""


def judge(
    rule: Rule, shared: Mapping[str, float | None], found: Sequence[Difference], left: Mapping[str, str] | None = None
) -> Verdict:
    """Whether a rule fails. Raises UsageError for a whole name that no side has."""
    if rule.name in ROWS:
        value = shared.get(rule.name)
        if value is None:
            return Verdict(rule.text, True, None, None, None, f"{rule.name} is not known: {_MENDS.get(rule.name, 'no rows')}")
        return Verdict(rule.text, _holds(value, rule), value, None, None, ROWS[rule.name])
    metric = METRICS.get(rule.name, rule.name)
    one = next((d for d in found if d.metric == metric), None)
    if one is None:
        why = (left or {}).get(metric)
        if why is None and rule.name not in METRICS:
            names = ", ".join([*ROWS, *METRICS, *(d.metric for d in found if d.metric not in METRICS.values())])
            raise UsageError(f"--fail-on {rule.text!r}: {metric} was not measured", f"what was: {names}")
        return Verdict(rule.text, True, None, None, None, f"{metric} cannot be compared: {why or 'it was not measured'}")
    return _judged(rule, one)


_MENDS = {
    "contamination": "name evaluation sets: --benchmark FILE",
    "decisions_changed": "no row was decided on by both sides",
    "rows_changed": "compare two files of which all rows are read",
}


def _judged(rule: Rule, one: Difference) -> Verdict:
    scale = 1.0
    if rule.relative:
        if not one.old:
            return Verdict(rule.text, True, None, None, None, f"{one.metric} was 0: a relative change is unknown")
        scale = abs(one.old)
    value = one.change / scale
    lo, hi = (None if bound is None else bound / scale for bound in (one.lo, one.hi))
    beyond = _holds(value, rule)
    fails = beyond and one.detectable is not False
    why = "beyond the limit, but the interval holds 0: no detectable change" if beyond and not fails else one.metric
    return Verdict(rule.text, fails, value, lo, hi, why)


def _holds(value: float, rule: Rule) -> bool:
    return {">": value > rule.limit, ">=": value >= rule.limit, "<": value < rule.limit, "<=": value <= rule.limit}[rule.op]


def as_dict(one: Any) -> dict[str, Any]:
    """A Difference or Verdict as JSON."""
    return dict(one._asdict()) | ({"detectable": one.detectable} if isinstance(one, Difference) else {})
