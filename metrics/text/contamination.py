"""Which texts hold a benchmark's item: an n-gram index of questions and answers, and what matches it. Decides nothing.

Tiers, strongest first: the whole text equal; any run of 13 words (GPT-3, 2005.14165); words of the item covered by runs of 8
that one text holds (Tulu 3, 2411.15124). An item shorter than 8 words has no such run: only the whole text can equal it, and a
short answer ("42") is not indexed at all, since every right completion would equal it. Not seen: items with other numbers in
them, translations, free paraphrases.

Words are cut after NFKC and folding; LaTeX spacing, punctuation and boilerplate ("Let's think step by step", chat markup) are
left out, digits and signs of arithmetic stay. Runs that many items share are the benchmark's own boilerplate: the more items,
the less one of them tells.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import ids, schema
from ratoon.config import Config, semantic
from ratoon.metrics.text.shingles import shingle
from ratoon.text import tokenise

VERSION = "2"
KIND = "contamination"
EXACT, LONG, COVERAGE = "exact", "long", "coverage"
TIERS = (EXACT, LONG, COVERAGE)
BOILERPLATE = (
    "Let's think step by step", "Let us think step by step", "Think step by step",
    "Please reason step by step, and put your final answer within \\boxed{}",
    "put your final answer within \\boxed{}", "The final answer is", "The answer is", "You are a helpful assistant",
    "Solve the following math problem step by step", "Answer the following question", "Question", "Answer", "Solution",
)  # fmt: skip
_MARKUP = re.compile(r"<\|[^|>]{0,40}\|>(?:system|user|assistant)?|\[/?inst\]|</?s>|###?\s*(?:instruction|response|input):?")
_LATEX = re.compile(
    r"\\[,;:!> ]|\\(?:q?quad|thinspace|medspace|thickspace|enspace|left|right|displaystyle|text|mathrm|mbox)(?![a-z])"
    r"|\\[()\[\]]|[~$]"
)
_WORD = re.compile(r"(?:(?![_])\w)+|(?<![a-z-])-(?![a-z-])|[+*/=<>^%×÷]")
_NOMINATES = 10  # times `common`: a run in more items names no candidate by itself, but counts for one that another named
_ITEMS = pa.schema([("item_id", pa.string()), ("benchmark", pa.string()), ("part", pa.string()), ("text", pa.string())])


class ContaminationConfig(Config):
    """How texts are compared with benchmarks."""

    long: int = Field(13, ge=2, le=64, description="words of a run that tells by itself")
    short: int = Field(8, ge=2, le=64, description="words of a run that covers; shorter items are compared as a whole")
    floor: float = Field(0.25, gt=0, le=1, description="least share of an item's words covered that is kept as an edge")
    common: int = Field(
        10, ge=1, description="items a run may be in at full weight; in k times as many it weighs 1/k², as boilerplate does"
    )
    boilerplate: tuple[str, ...] = Field((), description="phrases left out of every text, beside the built-in ones")


class Runs(NamedTuple):
    """Runs of words of items, each `[n_runs]` in order of hash: the item, the word it begins at, how many items share it, and
    its weight: 1 up to `common` items, then (common / items)²."""

    hashes: np.ndarray
    items: np.ndarray
    places: np.ndarray
    shared: np.ndarray
    weights: np.ndarray


class Index(NamedTuple):
    """Items `[n]` (their words, names) and their runs by length; `by_item` are, for each length, places in `runs` in order of
    item and where each item's begin; `digest` is of all of it."""

    config: ContaminationConfig
    items: pa.Table
    words: list[list[str]]
    whole: dict[str, int]
    runs: dict[int, Runs]
    by_item: dict[int, tuple[np.ndarray, np.ndarray]]
    digest: str


class Match(NamedTuple):
    """An item a text holds, by which tier, the share of its words covered (rare ones count more), and words they share."""

    item: int
    tier: str
    share: float
    words: str


def items(benchmark: str, questions: Sequence[str | None], answers: Sequence[str | None] | None = None) -> pa.Table:
    """Rows for `build` from a benchmark's columns; items are numbered as they stand."""
    rows = [
        (i, part, text)
        for part, column in (("question", questions), ("answer", answers or ()))
        for i, text in enumerate(column)
    ]
    found = [
        {"item_id": f"{benchmark}:{i}:{part}", "benchmark": benchmark, "part": part, "text": t} for i, part, t in rows if t
    ]
    return pa.Table.from_pylist(found, schema=_ITEMS)


def build(rows: pa.Table, config: ContaminationConfig) -> Index:
    """The index of `items` rows. The same items in any order give the same index and digest."""
    rows = rows.select(_ITEMS.names).cast(_ITEMS).sort_by("item_id")
    words = [cut(text or "", config) for text in rows["text"].to_pylist()]
    useful = [
        i for i, (found, part) in enumerate(zip(words, rows["part"].to_pylist(), strict=True))
        if found and (part != "answer" or len(found) >= config.short)
    ]  # fmt: skip
    rows, words = rows.take(pa.array(useful, pa.int64())), [words[i] for i in useful]
    whole: dict[str, int] = {}
    for i, found in enumerate(words):
        whole.setdefault(" ".join(found), i)
    runs = {n: _runs(words, n, config.common) for n in {config.long, config.short}}
    by_item = {
        n: (np.lexsort([of.places, of.items]), np.searchsorted(np.sort(of.items), np.arange(len(words) + 1)))
        for n, of in runs.items()
    }
    named = [rows["item_id"].to_pylist(), [" ".join(found) for found in words], VERSION, semantic(config)]
    return Index(config, rows, words, whole, runs, by_item, ids.digest(named))


def version(index: Index) -> str:
    """What edges say they were made by: this code and that index."""
    return f"{VERSION}:{index.digest[:12]}"


def matches(index: Index, subject_ids: pa.Array, texts: pa.Array) -> pa.Table:
    """Table edges: of every text that holds an item the strongest match, `similarity` the share of the item's words covered.

    `a_id` is the subject, `b_id` the item; `evidence` is JSON: tier, and the run of words they share.
    """
    found = []
    for row, match in enumerate(compare(index, [cut(text or "", index.config) for text in texts.to_pylist()])):
        if match is not None:
            found.append(
                {"kind": KIND, "a_id": subject_ids[row].as_py(), "b_id": index.items["item_id"][match.item].as_py(),
                 "similarity": match.share, "version": version(index),
                 "evidence": json.dumps({"tier": match.tier, "words": match.words}, ensure_ascii=False)}
            )  # fmt: skip
    return schema.from_rows("edges", found)


def cut(text: str, config: ContaminationConfig) -> list[str]:
    """The words that are compared.

    >>> cut("Let's think step by step:  What is $3\\\\,+\\\\;4$?", ContaminationConfig())
    ['what', 'is', '3', '+', '4']
    """
    spaced = _LATEX.sub(" ", _MARKUP.sub(" ", unicodedata.normalize("NFKC", text).casefold()))
    if spaced.isascii():
        words = _WORD.findall(spaced)
    else:
        # A token keeps its combining marks, which `\w` would tear off.
        words = [word for token in tokenise(spaced) if _WORD.match(token) for word in token.split("_") if word]
    if len(words) < 2:
        return words
    return _boilerplate(config.boilerplate).sub(" ", f" {' '.join(words)} ").split()


@lru_cache(maxsize=8)
def _boilerplate(more: tuple[str, ...]) -> re.Pattern[str]:
    phrases = {" ".join(_WORD.findall(_LATEX.sub(" ", p.casefold()))) for p in (*BOILERPLATE, *more)} - {""}
    ordered = sorted(phrases, key=lambda p: (-len(p), p))
    several, single = [p for p in ordered if " " in p], [p for p in ordered if " " not in p]
    # One word is boilerplate only at the very beginning ("Question: …"): elsewhere it means something.
    parts = [rf"(?<= )(?:{'|'.join(map(re.escape, several))})(?= )", rf"^ (?:{'|'.join(map(re.escape, single))})(?= )"]
    return re.compile("|".join(parts))


def _hashes(words: Sequence[Sequence[str]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every run of n words and the row it is in; rows with fewer have none."""
    rows = np.flatnonzero([len(found) >= n for found in words])
    made = shingle(pa.array([" ".join(words[i]) for i in rows], pa.string()), "words", n)
    return made.hashes, np.repeat(rows, np.diff(made.offsets))


def _runs(words: Sequence[Sequence[str]], n: int, common: int) -> Runs:
    """The runs of n words of all items in order of hash."""
    hashes, items = _hashes(words, n)
    places = np.concatenate([np.arange(k) for k in np.unique(items, return_counts=True)[1]]) if len(items) else items
    pairs = np.unique(np.stack([hashes, items.astype(np.uint64)], 1), axis=0) if len(hashes) else np.zeros((0, 2), np.uint64)
    known, counts = np.unique(pairs[:, 0], return_counts=True)
    shared = counts[np.searchsorted(known, hashes)] if len(known) else np.zeros(0, np.int64)
    order = np.lexsort([places, items, hashes])
    weights = np.minimum(1.0, common / np.maximum(shared, 1)) ** 2
    return Runs(hashes[order], items[order], places[order], shared[order], weights[order])


def compare(index: Index, cuts: Sequence[Sequence[str]]) -> list[Match | None]:
    """Of each text, given as its words, the strongest match; None where nothing is told."""
    found: list[Match | None] = [exact(index, words) for words in cuts]
    open_rows = [row for row, match in enumerate(found) if match is None]
    texts = [cuts[row] for row in open_rows]
    hit = {n: _hits(runs, texts, n, index.config.common * _NOMINATES) for n, runs in index.runs.items()}
    for at, items in sorted(_nominated(hit.values()).items()):
        held = {n: _held(texts[at], n) for n in index.runs}
        told = [match for item in sorted(items) if (match := _against(index, item, held)) is not None]
        if told:
            found[open_rows[at]] = min(told, key=lambda match: (TIERS.index(match.tier), -match.share, match.item))
    return found


def exact(index: Index, words: Sequence[str]) -> Match | None:
    """The item whose words these are, all of them; None where there is none."""
    text = " ".join(words)
    return Match(index.whole[text], EXACT, 1.0, text) if words and text in index.whole else None


def _hits(runs: Runs, texts: Sequence[Sequence[str]], n: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Text and item of every run that both hold and at most `most` items share."""
    rare = np.flatnonzero(runs.shared <= most)
    known, owners = runs.hashes[rare], runs.items[rare]
    hashes, rows = _hashes(texts, n)
    first, last = np.searchsorted(known, hashes, "left"), np.searchsorted(known, hashes, "right")
    counts = last - first
    at = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    return np.repeat(rows, counts), owners[at]


def _nominated(hits: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[int, set[int]]:
    """The items that share a run with each text."""
    found: dict[int, set[int]] = {}
    for rows, items in hits:
        pairs = np.unique(np.stack([rows, items], 1), axis=0) if len(rows) else np.zeros((0, 2), np.int64)
        for row, item in pairs.tolist():
            found.setdefault(row, set()).add(item)
    return found


def _held(words: Sequence[str], n: int) -> np.ndarray:
    """The hashes of a text's runs in order."""
    return np.unique(_hashes([words], n)[0])


def _against(index: Index, item: int, held: Mapping[int, np.ndarray]) -> Match | None:
    config, words = index.config, index.words[item]
    long, short = (_of_item(index, item, n) for n in (config.long, config.short))
    both = np.isin(long.hashes, held[config.long])
    covered = _weights(len(words), short, config.short, np.isin(short.hashes, held[config.short]))
    whole = _weights(len(words), short, config.short, np.ones(len(short.hashes), bool)).sum()
    share = round(float(covered.sum() / whole), 12) if whole else 0.0
    if _apart(long, both, config.long) >= 1:
        start = int(long.places[both].min())
        return Match(item, LONG, share, " ".join(words[start : start + config.long]))
    if share < config.floor:
        return None
    first = int((covered > 0).argmax())
    end = first + int(np.argmin([*(covered[first:] > 0), False]))
    return Match(item, COVERAGE, share, " ".join(words[first:end]))


def _apart(runs: Runs, chosen: np.ndarray, size: int) -> float:
    """The weights of the chosen runs that do not overlap, together; a run at full weight is enough by itself."""
    places, weights = runs.places[chosen], runs.weights[chosen]
    if len(weights) and weights.max() >= 1:
        return 1.0
    total, end = 0.0, 0
    for place, weight in sorted(zip(places.tolist(), weights.tolist(), strict=True)):
        if place >= end:
            total, end = total + weight, place + size
    return total


def _of_item(index: Index, item: int, n: int) -> Runs:
    """The runs of one item."""
    runs, (order, starts) = index.runs[n], index.by_item[n]
    at = order[starts[item] : starts[item + 1]]
    return Runs(*(column[at] for column in runs))


def _weights(n: int, runs: Runs, size: int, chosen: np.ndarray) -> np.ndarray:
    """The weight of each of n words: that of the rarest chosen run over it, 0 where none is."""
    weights = np.zeros(n)
    for offset in range(size):
        np.maximum.at(weights, runs.places[chosen] + offset, runs.weights[chosen])
    return weights
