"""Whether a new text asks what is held out: the same problem key or text, a long common run, or much of it covered.

Rules (arXiv 2005.14165 for 13-grams, 2411.15124 for coverage by 8-grams): words are those of `ratoon.novelty.tokens_of`
without the marks of sentences; n-grams that many held-out tasks share are boilerplate and count for nothing. Texts shorter than
n have no n-gram and are compared whole. It misses problems with other numbers and translations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.generators.tasks.proposal import text_key
from ratoon.novelty import tokens_of
from ratoon.text import shingles

_LONG, _SHORT, _COVERED = 13, 8, 0.5
_COMMON = 3  # held-out tasks that share an n-gram before it may be boilerplate
_COMMON_SHARE = 0.02
_MARKS = frozenset(".,;:!?\"'`()[]{}…。、，！？：；“”‘’«»¿¡")  # signs of arithmetic stay: 3 + 4 is not 3 - 4


class Leak(NamedTuple):
    """Which rule found which held-out task; value and threshold where the rule has them."""

    rule: str
    task_id: str
    value: float | None = None
    threshold: float | None = None


class HeldOut:
    """The tasks that must not be asked in training, indexed."""

    def __init__(self, tasks: pa.Table) -> None:
        """`tasks` with task_id, problem_key, messages and split; those of split train are passed over."""
        held = tasks.filter(pc.not_equal(tasks["split"], "train")).select(["task_id", "problem_key", "messages"]).to_pylist()
        self._keys: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._grams: dict[int, dict[tuple[str, ...], list[tuple[str, int]]]] = {_LONG: {}, _SHORT: {}}
        self._words: dict[str, int] = {}
        for row in sorted(held, key=lambda row: row["task_id"]):
            self._index(row["task_id"], row["problem_key"], [m["content"] for m in row["messages"] if m["role"] == "user"])
        self._forget_boilerplate(len(held))

    def _index(self, task_id: str, problem_key: str, said: Sequence[str]) -> None:
        self._keys.setdefault(problem_key, task_id)
        for text in {*said, "\n".join(said)}:
            self._keys.setdefault(text_key(text), task_id)
            self._texts.setdefault(_bare(text), task_id)
        words = _words("\n".join(said))
        self._words[task_id] = len(words)
        for n, index in self._grams.items():
            for at, gram in enumerate(shingles(words, n) if len(words) >= n else ()):
                index.setdefault(gram, []).append((task_id, at))

    def _forget_boilerplate(self, n_tasks: int) -> None:
        most = max(_COMMON, _COMMON_SHARE * n_tasks)
        for n, index in self._grams.items():
            self._grams[n] = {gram: places for gram, places in index.items() if len({task for task, _ in places}) <= most}

    def leak(self, text: str, problem_key: str | None = None) -> Leak | None:
        """The held-out task that `text` asks, by the strictest rule that finds one; None where there is none."""
        for key in filter(None, (problem_key, text_key(text))):
            if key in self._keys:
                return Leak("problem_key", self._keys[key])
        bare = _bare(text)
        if bare and bare in self._texts:
            return Leak("text", self._texts[bare])
        words = _words(text)
        for gram in shingles(words, _LONG) if len(words) >= _LONG else ():
            if gram in self._grams[_LONG]:
                return Leak("13gram", self._grams[_LONG][gram][0][0])
        return self._covered(words)

    def _covered(self, words: Sequence[str]) -> Leak | None:
        """The held-out task of which the largest share of words lies in 8-grams of the text."""
        covered: dict[str, set[int]] = {}
        for gram in set(shingles(words, _SHORT)) if len(words) >= _SHORT else ():
            for task_id, at in self._grams[_SHORT].get(gram, ()):
                covered.setdefault(task_id, set()).update(range(at, at + _SHORT))
        best: Leak | None = None
        for task_id, places in sorted(covered.items()):
            share = len(places) / self._words[task_id]
            if share > _COVERED and (best is None or share > (best.value or 0)):
                best = Leak("8gram", task_id, share, _COVERED)
        return best


def _words(text: str) -> list[str]:
    return [token for token in tokens_of(text) if token not in _MARKS]


def _bare(text: str) -> str:
    return " ".join(_words(text))
