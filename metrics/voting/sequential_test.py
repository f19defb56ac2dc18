"""When a vote need not be asked further: curtailment, which adds no error, and an anytime-valid test; knows no engine.

Curtailment stops a group when no replies still to come could change what all of them would decide: the same label, or no
label. (Exact for keys, and for symbolic classes as long as a new reply does not split or join old ones.)

The anytime test stops when the leader is the mode, at level alpha, however often one looks. Leader and rival are compared by
the mixture likelihood ratio of a fair coin (uniform prior on the leader's half), a test supermartingale under every null in
which the rival is at least as likely; as in PPR (Jain et al. 2022), but for any number of answers: the j-th answer to appear
has the part 1/(j (j + 1)) of alpha, and only what is said after it appeared counts for or against it. A rival not seen yet
is beaten as one with no vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb, log
from typing import NamedTuple

import numpy as np

from ratoon.metrics.voting.consensus import ConsensusConfig, reasons
from ratoon.metrics.voting.plurality import Bools, Ints, Votes


class Open(NamedTuple):
    """One entry per group: its decision can no longer change, to a label or to none; neither: it is open."""

    accept: Bools
    reject: Bools

    @property
    def undecided(self) -> Bools:
        return ~(self.accept | self.reject)


def curtail(votes: Votes, left: Ints, config: ConsensusConfig) -> Open:
    """What is certain with `left` replies still to come, each of which may say anything, nothing, or never arrive.

    Unweighted votes only. With nothing left this is the decision itself.
    """
    top, second = votes.top_votes, np.rint(votes.second).astype(np.int64)
    # Worst for the leader: all go to its rival, or say nothing. Best: all agree with it, which serves no other answer better.
    accept = (votes.voters >= config.n_min) & (top > second + left)
    accept &= _passes(top, second + left, np.maximum(votes.voters, config.n_min), votes.present + left, config)
    best = _passes(top + left, second, votes.voters + left, votes.present + left, config) & (top + left > second)
    return Open(accept, ~best)


def _passes(top: Ints, second: Ints, voters: Ints, present: Ints, config: ConsensusConfig) -> Bools:
    whole = np.maximum(present, 1)
    few, share, margin, bound = reasons(top / whole, (top - second) / whole, top, voters, present, config)
    return (present > 0) & ~(few | share | margin | bound)


def mode_at(answers: Sequence[int], alpha: float) -> int | None:
    """The answer (a code, in the order they were given; -1 is none) that is the mode at level `alpha`, or None.

    P(some call, at any number of answers, returns an answer that is not the mode) ≤ alpha, for independent answers of one
    distribution over any number of answers.

    >>> mode_at([3] * 8, 0.05), mode_at([3] * 9, 0.05), mode_at([3, 4] * 20, 0.05)
    (None, 3, None)
    """
    votes = [answer for answer in answers if answer >= 0]
    if not votes:
        return None
    leader = max(sorted(set(votes)), key=votes.count)
    first = votes.index(leader)
    place = len(set(votes[:first])) + 1
    after = votes[first + 1 :]
    mine = after.count(leader)
    rival = max((after.count(other) for other in set(after) if other != leader), default=0)
    return leader if log_evidence(mine, rival) >= log(place * (place + 1) / alpha) else None


@lru_cache(maxsize=65536)
def log_evidence(mine: int, rival: int) -> float:
    """Natural log of the mixture likelihood ratio of a coin biased to the leader over a fair one.

    Of n votes for either: 2^(n+1) times the integral over [1/2, 1] of t^mine (1 - t)^rival, exactly, as a binomial tail.
    """
    n = mine + rival
    return log(sum(comb(n + 1, i) for i in range(mine + 1))) - log((n + 1) * comb(n, mine))


def settled(group: Ints, choice: Ints, order: Ints, votes: Votes, config: ConsensusConfig) -> Bools:
    """Groups whose leader is the mode at level `config.alpha` and passes every threshold with what it has.

    `order` is the number of the sample: evidence counts in the order that replies were asked for.
    """
    passes = _passes(votes.top_votes, np.rint(votes.second).astype(np.int64), votes.voters, votes.present, config)
    rows = np.lexsort((order, group))
    start = np.searchsorted(group[rows], np.arange(len(passes) + 1))
    said = choice[rows].tolist()
    out = passes & ~votes.tie
    for g in np.flatnonzero(out).tolist():
        out[g] = mode_at(said[start[g] : start[g + 1]], config.alpha) == votes.winner[g]
    return out
