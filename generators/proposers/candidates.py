"""Proposed tasks on their way into the pool: what was malformed, repeats or asks the evaluation, and why; knows no engine.

Candidates are taken in the order of their ids, so neither shards nor workers decide which of two alike stays. A candidate is
compared with what is held out, then by ROUGE-L with the whole pool and those accepted before it, then by embeddings where
given. Each leaves one row of `decisions`, `subject_kind` `proposal`; its step says how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratoon import schema
from ratoon.novelty import RougeIndex

VERSION = "1"
STEPS = ("parse", "held_out", "novelty", "answerable", "accepted")


@dataclass(frozen=True)
class Candidate:
    """One task that a reply proposes, or what was wrong with it: then `malformed` holds the reason and `text` may be empty.

    `subject_id` is the rollout's id and the number of the task in its reply. `text` is what novelty compares, `message` what is
    asked where that is more. `near` are ids of tasks it may resemble.
    """

    subject_id: str
    rollout_id: str
    text: str = ""
    message: str | None = None
    malformed: str | None = None
    parent_ids: tuple[str, ...] = ()
    problem_key: str | None = None
    near: frozenset[str] = frozenset()
    meta: Mapping[str, Any] = field(default_factory=dict)


class Leak(NamedTuple):
    """Which rule found that a candidate asks which held-out task or item; value and threshold where the rule has them."""

    rule: str
    evidence_id: str
    value: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate: `reason` is null where it was accepted."""

    candidate: Candidate
    step: str
    reason: str | None = None
    value: float | None = None
    threshold: float | None = None
    evidence_id: str | None = None


class Pool:
    """Everything a new task must differ from: texts by ROUGE-L, and vectors where an embedder is given."""

    def __init__(
        self,
        threshold: float,
        embed: Callable[[Sequence[str]], np.ndarray] | None = None,
        max_cosine: float = 0.9,
    ) -> None:
        """`embed` turns texts into unit rows [n, d]; a cosine above `max_cosine` is too near."""
        self.index = RougeIndex(threshold)
        self._embed, self._max_cosine = embed, max_cosine
        self._ids: list[str] = []
        self._rows: np.ndarray | None = None  # grows by doubling; only the first len(ids) rows count

    def add(self, tasks: Sequence[tuple[str, str]]) -> None:
        """Ids and texts of tasks that are there."""
        for id, text in tasks:
            self.index.add(id, text)
        for (id, _), vector in zip(tasks, self.vectors([text for _, text in tasks]), strict=True):
            self._keep(id, vector)

    def vectors(self, texts: Sequence[str]) -> list[np.ndarray | None]:
        """One vector per text, or nulls without an embedder."""
        return [None] * len(texts) if self._embed is None or not texts else list(self._embed(texts))

    def too_near(self, candidate: Candidate, vector: np.ndarray | None) -> Verdict | None:
        """The verdict that drops a candidate, or null where it is new."""
        near = self.index.nearest(candidate.text, candidate.near)
        if near is not None:
            return Verdict(candidate, "novelty", "not_novel:rouge_l", near.similarity, self.index.threshold, near.id)
        if vector is None or self._rows is None:
            return None
        cosines = self._rows[: len(self._ids)] @ vector
        places = np.flatnonzero(cosines > self._max_cosine)
        for place in places[np.argsort(-cosines[places], kind="stable")]:
            if self._ids[place] not in candidate.near:
                value = float(cosines[place])
                return Verdict(candidate, "novelty", "not_novel:cosine", value, self._max_cosine, self._ids[place])
        return None

    def take(self, id: str, candidate: Candidate, vector: np.ndarray | None) -> None:
        """An accepted candidate is part of the pool at once."""
        self.index.add(id, candidate.text)
        self._keep(id, vector)

    def _keep(self, id: str, vector: np.ndarray | None) -> None:
        if vector is None:
            return
        n = len(self._ids)
        if self._rows is None or n == len(self._rows):
            grown = np.zeros((max(256, 2 * n), len(vector)), np.float32)
            grown[:n] = self._rows if self._rows is not None else 0
            self._rows = grown
        self._rows[n] = vector
        self._ids.append(id)


def judge(candidates: Sequence[Candidate], pool: Pool, leaks: Mapping[str, Leak]) -> list[Verdict]:
    """One verdict per candidate, in the order of `subject_id`; the accepted ones join `pool` under their subject ids.

    `leaks` are found by whoever knows the held-out tasks, by `subject_id`.
    """
    ordered = sorted(candidates, key=lambda c: (c.rollout_id, len(c.subject_id), c.subject_id))
    sound = [c for c in ordered if c.malformed is None]
    vectors = dict(zip((c.subject_id for c in sound), pool.vectors([c.text for c in sound]), strict=True))
    verdicts = []
    for candidate in ordered:
        verdict = _judge(candidate, pool, leaks.get(candidate.subject_id), vectors.get(candidate.subject_id))
        if verdict.reason is None:
            pool.take(candidate.subject_id, candidate, vectors.get(candidate.subject_id))
        verdicts.append(verdict)
    return verdicts


def _judge(candidate: Candidate, pool: Pool, leak: Leak | None, vector: np.ndarray | None) -> Verdict:
    if candidate.malformed is not None:
        return Verdict(candidate, "parse", f"malformed:{candidate.malformed}")
    if leak is not None:
        return Verdict(candidate, "held_out", f"held_out:{leak.rule}", leak.value, leak.threshold, leak.evidence_id)
    return pool.too_near(candidate, vector) or Verdict(candidate, "accepted")


def decisions(verdicts: Sequence[Verdict], curation_id: str) -> pa.Table:
    """Table `decisions`, one row a candidate: the step it fell at, or `accepted`."""
    return schema.from_rows(
        "decisions",
        [
            {
                "curation_id": curation_id,
                "step": STEPS.index(v.step),
                "subject_kind": "proposal",
                "subject_id": v.candidate.subject_id,
                "filter": v.step,
                "version": VERSION,
                "keep": v.reason is None,
                "reason": v.reason,
                "value": v.value,
                "threshold": v.threshold,
                "evidence_id": v.evidence_id,
            }
            for v in verdicts
        ],
    )
