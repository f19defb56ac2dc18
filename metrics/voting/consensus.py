"""Labels by agreement: the vote of each group, whether it may be trusted, and which rollouts agree with it; knows no engine.

For tasks that no verifier judges. A vote is the plurality of canonical answers over all replies that came back; it becomes a
label only above every threshold, and ties abstain. Agreement is not correctness: `metrics/stats/calibration.py` says how far to
believe it where the truth is known. Thresholds as in Self-consistency (2203.11171) and TTRL (2504.16084), whose raw-string
votes and first-seen ties are avoided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from ratoon import schema
from ratoon.columns import codes_and_values, equal, numbers
from ratoon.config import Config
from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import Floats, wilson_columns
from ratoon.metrics.voting.equivalence import merged
from ratoon.metrics.voting.groups import GROUP, latest, planned, vote_columns
from ratoon.metrics.voting.plurality import Bools, Ints, Votes, Weighing, plurality, weigh

VERSION = "1"
SCORER = "consensus"
STATUSES = ("accepted", "none", "unweighed", "tie", "few", "share", "margin", "bound")
Same = Callable[[list[tuple[str, str]]], list[bool]]
"""Whether pairs of replies (the first leads its class) say the same, by symbolic equivalence."""


class ConsensusConfig(Config):
    """`[consensus]`: how agreement labels what no verifier judges. Its presence switches it on."""

    labels: Literal["verifier", "consensus"] = Field(
        "verifier",
        description="verifier: only tasks without a verifier are labelled by vote; consensus: all training tasks are, their"
        " gold answers are hidden from the run and kept as oracles for measuring",
    )
    reader: str = Field("numeric", description="the verifier whose reading of a reply is its vote")
    reader_args: dict[str, str | int | float | bool] = Field({}, description="its arguments, as in a task's verifier_args")
    equivalence: Literal["key", "symbolic"] = Field(
        "key", description="symbolic: answers whose keys differ are also compared by math-verify"
    )
    weights: Weighing = Field(
        "one", description="what a vote weighs: one, probability (exp of the mean log-prob), softmax or rank of it in the group"
    )
    weight_temperature: float = Field(1.0, gt=0, description="temperature of `softmax`")
    weight_power: float = Field(1.0, ge=0, description="power of `rank`")
    n_min: int = Field(8, ge=1, description="fewest replies with an answer")
    share: float = Field(0.5, ge=0, le=1, description="least share of the leader among all replies, answer or not")
    margin: float = Field(0.1, ge=0, le=1, description="least lead over the second, as part of all replies")
    wilson: bool = Field(False, description="Wilson's lower bound of the leader's share must lie above `share` too")
    wave: int = Field(0, ge=0, description="replies asked of a task at a time, up to generate.n; 0: all of them at once")
    stop: Literal["curtail", "anytime"] = Field(
        "curtail",
        description="between waves a task is done when (curtail) the rest cannot change what all generate.n would decide, or"
        " (anytime) also when its leader is the mode at level `alpha`",
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="anytime: chance per task that a leader is taken which is not the mode")
    reuse: bool = Field(True, description="replies that early stops saved go to the tasks still undecided at generate.n")
    twins: bool = Field(
        False,
        description="a task and its paraphrase (an arm of `[propose]`) are asked together and label each other: both votes"
        " must say the same",
    )
    most_alike: float | None = Field(
        None,
        gt=0,
        le=1,
        description="for closed questions: warn when one answer has more than this share of the accepted votes",
    )
    stop_on_falling: bool = Field(
        True, description="stop before training when agreement rises while accuracy falls, where the truth is known"
    )

    @model_validator(mode="after")
    def _stopping_counts_votes(self) -> Self:
        if self.wave and self.weights != "one":
            raise ValueError("wave needs weights = 'one': what votes still to come may weigh has no bound")
        return self


class Labels(NamedTuple):
    """Rows of table `groups`, one a group, and rows of table `scores`, one a rollout, of scorer `consensus`."""

    groups: pa.Table
    scores: pa.Table


def decided(votes: Votes, config: ConsensusConfig, unweighed: Bools | None = None) -> Ints:
    """Per group an index into STATUSES: 0 accepts, the rest is the first reason not to."""
    n = len(votes.winner)
    few, share, margin, bound = reasons(votes.share, votes.margin, votes.top_votes, votes.voters, votes.present, config)
    no = np.zeros(n, bool) if unweighed is None else unweighed
    return np.select([votes.voters == 0, no, votes.tie, few, share, margin, bound], list(range(1, 8)), 0)


def reasons(
    share: Floats, margin: Floats, top: Ints, voters: Ints, present: Ints, config: ConsensusConfig
) -> tuple[Bools, Bools, Bools, Bools]:
    """Which thresholds are missed: too few answers, share, margin, Wilson's bound. One place, for stopping rules too."""
    low = wilson_columns(top, present)[0] if config.wilson else np.ones(len(top))
    return voters < config.n_min, share < config.share, margin < config.margin, ~(low > config.share)


def consensus(
    rollouts: pa.Table,
    readings: pa.Table,
    assignments: pa.Table,
    config: ConsensusConfig,
    *,
    same: Same | None = None,
    stop_rule: dict[str, str] | None = None,
) -> Labels:
    """The votes on rollouts (rollout_id, finish_reason, group coordinates; `confidence` where votes are weighed) by `readings`.

    Where the vote is accepted its group has a rate, the share that agrees, and Wilson's interval of it; but groups of
    `stop_rule` (by group id) have no interval, because how long they were asked depended on what they said. `same` is asked
    where keys differ and `equivalence` is symbolic, and needs column `text`. Raises DataError on a rollout without a reading.
    """
    box = ballots(rollouts, readings, config, same)
    status = decided(box.votes, config, box.unweighed)
    version = f"{VERSION}+{_version(readings)}"
    return Labels(
        _groups(box, status, version, planned(rollouts, assignments), stop_rule or {}),
        _scores(box, status, version),
    )


class Ballots(NamedTuple):
    """Rollouts in id order with what they say: per row its group, its answer's code and whether it came back."""

    rows: pa.Table
    group: Ints
    groups: pa.Array
    choice: Ints
    answers: pa.Array
    back: Bools
    votes: Votes
    unweighed: Bools


def ballots(rollouts: pa.Table, readings: pa.Table, config: ConsensusConfig, same: Same | None = None) -> Ballots:
    """The votes as they stand, before any threshold; as in `consensus`."""
    if config.equivalence == "symbolic" and same is None:
        raise DataError("symbolic equivalence needs something to judge it", "pass `same`")
    rows = _read(rollouts, readings).sort_by("rollout_id")
    group, names = codes_and_values(rows["group_id"])
    answer, values = codes_and_values(rows["answer"])
    back = ~equal(rows["status"], "error")
    choice = np.where(equal(rows["finish_reason"], "length"), -1, answer)
    if config.equivalence == "symbolic" and same is not None:
        choice = merged(group, choice, values, rows["text"], same)
    weight = _weights(rows, group, back, config)
    unweighed = np.zeros(len(names), bool)
    if weight is not None:
        unweighed[group[back & np.isnan(weight)]] = True
    votes = plurality(group, choice, back, len(names), None if weight is None else np.nan_to_num(weight))
    return Ballots(rows, group, names, choice, values, back, votes, unweighed)


def _read(rollouts: pa.Table, readings: pa.Table) -> pa.Table:
    """Each rollout with what was read out of it."""
    subjects = readings["subject_id"].combine_chunks()
    if pc.count_distinct(subjects).as_py() != len(subjects):
        raise DataError("a rollout was read twice", "give the readings of one reader")
    at = pc.index_in(rollouts["rollout_id"], value_set=subjects)
    if at.null_count:
        raise DataError(f"{at.null_count} rollouts were not read", "read them all before they vote")
    for name in ("status", "answer", "detail"):
        rollouts = rollouts.append_column(name, readings[name].combine_chunks().take(at))
    return rollouts


def _version(readings: pa.Table) -> str:
    found = pc.unique(readings["version"]).to_pylist()
    if len(found) > 1:
        raise DataError(f"readings of several versions: {sorted(found)}", "read all rollouts with one reader")
    return found[0] if found else ""


def _weights(rows: pa.Table, group: Ints, back: Bools, config: ConsensusConfig) -> Floats | None:
    if config.weights == "one":
        return None
    confidence = numbers(rows["confidence"])
    return weigh(confidence, group, back, config.weights, config.weight_temperature, config.weight_power)


def _groups(box: Ballots, status: Ints, version: str, n_planned: dict[str, int], stop_rule: dict[str, str]) -> pa.Table:
    rows, group, names, votes = box.rows, box.group, box.groups, box.votes
    n = len(names)
    head = rows.take(pa.array(np.unique(group, return_index=True)[1])) if n else rows.slice(0, 0)
    cut = equal(rows["finish_reason"], "length")
    silent = box.back & ~cut & rows["answer"].is_null().to_numpy()
    accepted = status == 0
    rules = pa.array([stop_rule.get(name) for name in names.to_pylist()], pa.string())
    valid, passed = np.where(accepted, votes.present, 0), np.where(accepted, votes.top_votes, 0)
    lo, hi = wilson_columns(passed, valid)
    no_interval = ~accepted | rules.is_valid().to_numpy(zero_copy_only=False)
    columns: dict[str, Any] = {name: head[name] for name in GROUP}
    columns |= {
        "iteration": latest(rows["iteration"], group, n),
        "scorer": [SCORER] * n, "scorer_version": [version] * n, "label_source": [SCORER] * n,
        "n_planned": [n_planned.get(name) for name in names.to_pylist()],
        "n": np.bincount(group, minlength=n), "n_valid": valid, "n_passed": passed,
        "n_truncated": np.bincount(group[cut], minlength=n), "n_unparsed": np.bincount(group[silent], minlength=n),
        "pass_rate": pa.array(passed / np.maximum(valid, 1), mask=~accepted),
        "pass_lo": pa.array(lo, mask=no_interval), "pass_hi": pa.array(hi, mask=no_interval),
        "vote_status": [STATUSES[i] for i in status.tolist()], "stop_rule": rules,
    }  # fmt: skip
    return schema.from_columns("groups", columns | vote_columns(votes, box.answers), n).sort_by("group_id")


def _scores(box: Ballots, status: Ints, version: str) -> pa.Table:
    """pass: says the label; fail: says another thing, nothing, or was cut; abstain: its group has no label; error: no reply."""
    rows, group, choice, values, back = box.rows, box.group, box.choice, box.answers, box.back
    n = rows.num_rows
    labelled, agrees = (status == 0)[group], (choice >= 0) & (choice == box.votes.winner[group])
    cut, silent = equal(rows["finish_reason"], "length"), rows["answer"].is_null().to_numpy()
    kind = np.select([~back, ~labelled, agrees, cut, silent], [0, 1, 2, 3, 4], 5)
    verdicts = pa.array(["error", "abstain", "pass", "fail", "fail", "fail"]).take(pa.array(kind))
    details = pa.array([None, None, None, "length", "unparsed: no answer", "another vote"]).take(pa.array(kind))
    why = pa.array(STATUSES).take(pa.array(status[group]))
    details = pc.if_else(pa.array(kind == 1), why, pc.if_else(pa.array(kind == 0), rows["detail"].combine_chunks(), details))
    judged = back & labelled
    columns = {
        "subject_kind": ["rollout"] * n, "subject_id": rows["rollout_id"], "scorer": [SCORER] * n, "version": [version] * n,
        "repeat": [0] * n, "status": verdicts, "value": pa.array(agrees.astype(float), mask=~judged),
        "answer": values.take(pa.array(choice, mask=choice < 0)) if len(values) else pa.nulls(n, pa.string()),
        "detail": details,
    }  # fmt: skip
    return schema.from_columns("scores", columns, n)
