"""Votes held against the truth, as rows of table `measures`; knows no store and no oracle table.

| metric | value |
|---|---|
| `consensus/agreement` | mean vote share; a group where nobody answered counts 0 |
| `consensus/coverage` | share of groups whose vote is accepted |
| `consensus/label_accuracy` | of accepted votes, the share that is right: Wilson's interval, one vote a problem |
| `consensus/vote_accuracy` | of all groups, the share whose vote, accepted or not, is right |
| `consensus/rollout_accuracy` | mean over groups of the share of right rollouts |
| `consensus/reward_accuracy` | of rollouts in accepted groups, the share whose agreement is what the truth would have said |
| `consensus/ece`, `brier`, `auroc` | of the share as confidence that the vote is right, over groups with a vote |
| `consensus/risk_coverage` | share wrong among accepted votes at the accepted coverage; the whole curve is in `params` |

Vote shares at few rollouts are coarse; an ECE of a hundred groups is biased upwards by about its bins' noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ratoon.metrics.stats.calibration import auroc, brier, ece, risk_coverage
from ratoon.metrics.stats.estimators import Estimate, bootstrap, unanimous_rate, wilson

PREFIX = "consensus/"


class Label(NamedTuple):
    """One group's vote and, per rollout that came back, (agreement status, canonical answer, right by the truth or None)."""

    problem_key: str
    vote: str | None
    share: float | None
    accepted: bool
    rollouts: tuple[tuple[str, str | None, bool | None], ...]

    @property
    def right(self) -> bool | None:
        """Whether the vote is right, by what the truth says of rollouts that gave it; None where there is no vote to judge."""
        if self.vote is None:
            return None
        said = [right for _, answer, right in self.rollouts if answer == self.vote and right is not None]
        return said[0] if said else None


def measures(labels: Sequence[Label], *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of `measures` (metric, value, lo, hi, n, params), none where no truth is known; intervals resample problems."""
    if not labels:
        return []
    accepted = [label for label in labels if label.accepted and label.right is not None]
    voted = [label for label in labels if label.vote is not None and label.right is not None]
    rows = [
        _mean("agreement", [label.share or 0.0 for label in labels], labels, seed),
        _mean("coverage", [float(label.accepted) for label in labels], labels, seed),
        _mean("vote_accuracy", [float(bool(label.right)) for label in labels], labels, seed),
        _mean("rollout_accuracy", [_right_share(label) for label in labels], labels, seed),
        _wilson("label_accuracy", sum(bool(label.right) for label in accepted), len(accepted)),
    ]
    same = [(label, _reward_share(label)) for label in accepted]
    rows.append(_mean("reward_accuracy", [share for _, share in same], [label for label, _ in same], seed))
    return rows + _calibration(voted, accepted)


def trend(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Estimate], list[Estimate]]:
    """Agreement and vote accuracy of each round that has both, oldest first, as `calibration.collapse` takes them."""
    found: dict[str, dict[int, Estimate]] = {"agreement": {}, "vote_accuracy": {}}
    for row in rows:
        name = str(row["metric"]).removeprefix(PREFIX)
        if name in found and row["value"] is not None and row["lo"] is not None:
            found[name][row["iteration"]] = Estimate(row["value"], row["lo"], row["hi"], row["n"])
    both = sorted(found["agreement"].keys() & found["vote_accuracy"].keys())
    return [found["agreement"][i] for i in both], [found["vote_accuracy"][i] for i in both]


def _right_share(label: Label) -> float:
    judged = [right for _, _, right in label.rollouts if right is not None]
    return sum(judged) / len(judged) if judged else 0.0


def _reward_share(label: Label) -> float:
    scored = [(status, right) for status, _, right in label.rollouts if right is not None and status in ("pass", "fail")]
    judged = [(status == "pass") == right for status, right in scored]
    return sum(judged) / len(judged) if judged else 0.0


def _calibration(voted: Sequence[Label], accepted: Sequence[Label]) -> list[dict[str, Any]]:
    """Of the share as a confidence; no interval is computed."""
    if not voted:
        return []
    sure = np.array([label.share for label in voted], float)
    right = np.array([bool(label.right) for label in voted], float)
    wrong = sum(not label.right for label in accepted)
    curve = [[p.threshold, round(p.coverage, 6), round(p.risk or 0.0, 6), p.n] for p in risk_coverage(sure, right)]
    params = json.dumps({"curve": curve, "columns": ["share", "coverage", "risk", "n"]})
    return [
        _row("ece", ece(sure, right), None, None, len(voted)),
        _row("brier", brier(sure, right), None, None, len(voted)),
        _row("auroc", auroc(sure, right), None, None, len(voted)),
        _wilson("risk_coverage", wrong, len(accepted)) | {"params": params},
    ]


def _mean(metric: str, values: Sequence[float], labels: Sequence[Label], seed: int) -> dict[str, Any]:
    if not values:
        return _row(metric, None, None, None, 0)
    keys = [label.problem_key for label in labels]
    found = unanimous_rate(bootstrap(values, clusters=keys, seed=seed, draws=2000), len(set(keys)))
    return _row(metric, found.value, found.lo, found.hi, len(values))


def _wilson(metric: str, hits: int, n: int) -> dict[str, Any]:
    return _row(metric, hits / n, *wilson(hits, n), n) if n else _row(metric, None, None, None, 0)


def _row(metric: str, value: float | None, lo: float | None, hi: float | None, n: int) -> dict[str, Any]:
    shown = [None if x is None else round(x, 12) for x in (value, lo, hi)]
    return {"metric": PREFIX + metric, "value": shown[0], "lo": shown[1], "hi": shown[2], "n": n, "params": None}
