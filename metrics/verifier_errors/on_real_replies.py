"""A verifier against the hidden truth on replies that a model really wrote; knows no verifier's rules.

A reply is read three ways: surely right (the oracle is all it answers), surely wrong (the oracle is nowhere in it), or
undecided, and undecided replies are in no rate. So the rates are those of the clear-cut replies, and the share of these is
told. Refusals of format (cut by length, empty, unparsed) are the verifier's contract, no error: they are counted apart. This
also finds gold answers that differ from the oracle. Only for reports: no filter may read it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifier_errors.error_rates import rate
from ratoon.metrics.verifiers import extract as places
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.plain_numbers import tidy
from ratoon.metrics.verifiers.verdict import is_unparsed
from ratoon.text import normalise

VERSION = "natural-1"
_EDGES = re.compile(r"^\W+|\W+$")


class Natural(NamedTuple):
    """A verifier's rates on natural replies; None where no clear-cut reply of that kind was judged."""

    verifier: str
    version: str
    fpr: Estimate | None
    fnr: Estimate | None
    judged: int
    decided: int
    off_format: int


def reading(text: str, oracle: str, *, unique: bool = True) -> bool | None:
    """Whether a reply is surely right (True) or surely wrong (False) by its text alone; None where that cannot be said.

    Without `unique` other answers than the oracle may be right, so nothing is surely wrong.

    >>> reading("The answer is 7.", "7"), reading("It is 8.", "7"), reading("3 + 4 = 7", "7")
    (True, False, None)
    """
    truth = numbers.whole(oracle)
    if truth is not None and truth.value is not None:
        part = places.boxed(text)
        said = {number.value for number in numbers.find(tidy(text if part is None else part))}
        if said == {truth.value}:
            return True
        return False if said and truth.value not in said and unique else None
    whole, gold = _plain(text), _plain(oracle)
    parts = {whole, *(_plain(part) for part in (places.boxed(text), places.tagged(text, "answer")) if part)}
    if gold and gold in parts:
        return True
    return False if gold and gold not in whole and unique else None


def natural(rollouts: pa.Table, scores: pa.Table, tasks: pa.Table, oracles: pa.Table) -> list[Natural]:
    """One `Natural` per verifier and version, by name. `rollouts` has rollout_id, task_id, text, finish_reason; `tasks` has
    task_id and verifier; rollouts of tasks without an oracle are passed over. Raises DataError on an oracle given twice.
    """
    truths = dict(zip(oracles["task_id"].to_pylist(), oracles["oracle"].to_pylist(), strict=True))
    if len(truths) != oracles.num_rows:
        raise DataError("a task has two oracles", "give each task's truth once")
    known = {row["rollout_id"]: row for row in rollouts.select(["rollout_id", "task_id", "text", "finish_reason"]).to_pylist()}
    named = dict(zip(tasks["task_id"].to_pylist(), tasks["verifier"].to_pylist(), strict=True))
    found: dict[tuple[str, str], list[tuple[str, bool | None, str, bool]]] = {}
    verdicts = scores.filter(pc.and_(pc.equal(scores["subject_kind"], "rollout"), pc.is_in(scores["status"], _DECIDED)))
    for score in verdicts.select(["subject_id", "scorer", "version", "status", "detail"]).to_pylist():
        rollout = known.get(score["subject_id"])
        if rollout is None or truths.get(rollout["task_id"]) is None or named.get(rollout["task_id"]) != score["scorer"]:
            continue
        truth = reading(rollout["text"] or "", truths[rollout["task_id"]], unique=score["scorer"] != "reasoning_gym")
        refused = rollout["finish_reason"] == "length" or is_unparsed(score["detail"])
        row = (rollout["task_id"], truth, score["status"], refused)
        found.setdefault((score["scorer"], score["version"]), []).append(row)
    return [_rates(*key, rows) for key, rows in sorted(found.items())]


_DECIDED = pa.array(["pass", "fail"])


def _rates(verifier: str, version: str, rows: Sequence[tuple[str, bool | None, str, bool]]) -> Natural:
    read = [row for row in rows if not row[3]]

    def of(truth: bool) -> Estimate | None:
        mine = [row for row in read if row[1] is truth]
        wrong = sum((status == "pass") is not truth for _, _, status, _ in mine)
        return rate(wrong, len(mine), len({task for task, *_ in mine}))

    decided = sum(row[1] is not None for row in read)
    return Natural(verifier, version, of(False), of(True), len(read), decided, len(rows) - len(read))


def table(found: Sequence[Natural]) -> pa.Table:
    """Table `measures`: natural FPR and FNR, with the counts in `params`."""
    rows: list[dict[str, Any]] = []
    for one in found:
        params = f'{{"judged":{one.judged},"decided":{one.decided},"off_format":{one.off_format}}}'
        common = {"scope_kind": "verifier", "scope_id": one.verifier, "version": one.version, "fingerprint": VERSION}
        for metric, estimate in (("natural_fpr", one.fpr), ("natural_fnr", one.fnr)):
            if estimate is not None:
                rows.append(common | {"metric": metric, "params": params} | estimate._asdict())
    return schema.from_rows("measures", rows)


def _plain(text: str) -> str:
    return _EDGES.sub("", normalise(text))
