"""Which texts hold a benchmark's item: an n-gram index of questions and answers, and what matches it. Decides nothing.

Tiers, strongest first: the whole text equal; any run of 13 words (GPT-3, 2005.14165); words of the item covered by runs of 8
that one text holds (Tulu 3, 2411.15124). An item shorter than 8 words has no such run: only the whole text can equal it, and a
short answer ("42") is not indexed at all, since every right completion would equal it. Not seen: items with other numbers in
them, translations, free paraphrases.

Words are cut after NFKC and folding; LaTeX spacing, punctuation and boilerplate ("Let's think step by step", chat markup) are
left out, digits and signs of arithmetic stay. Runs that many items share are the benchmark's own boilerplate.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from ratoon import ids, schema
from ratoon.config import Config, semantic
from ratoon.metrics.text.shingles import shingle
from ratoon.text import tokenise

VERSION = "1"
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
_ITEMS = pa.schema([("item_id", pa.string()), ("benchmark", pa.string()), ("part", pa.string()), ("text", pa.string())])


class ContaminationConfig(Config):
    """How texts are compared with benchmarks."""

    long: int = Field(13, ge=2, le=64, description="words of a run that tells by itself")
    short: int = Field(8, ge=2, le=64, description="words of a run that covers; shorter items are compared as a whole")
    floor: float = Field(0.25, gt=0, le=1, description="least share of an item's words covered that is kept as an edge")
    common: int = Field(10, ge=1, description="items a run may be in; one in more of them is boilerplate and tells nothing")
    boilerplate: tuple[str, ...] = Field((), description="phrases left out of every text, beside the built-in ones")


class Index(NamedTuple):
    """Items `[n]` (their words, names) and sorted hashes of their runs with the item of each; `digest` is of all of it."""

    config: ContaminationConfig
    items: pa.Table
    words: list[list[str]]
    whole: dict[str, int]
    runs: dict[int, tuple[np.ndarray, np.ndarray]]
    digest: str


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
    named = [rows["item_id"].to_pylist(), [" ".join(found) for found in words], VERSION, semantic(config)]
    return Index(config, rows, words, whole, runs, ids.digest(named))


def version(index: Index) -> str:
    """What edges say they were made by: this code and that index."""
    return f"{VERSION}:{index.digest[:12]}"


def matches(index: Index, subject_ids: pa.Array, texts: pa.Array) -> pa.Table:
    """Table edges: of every text that holds an item the strongest match, `similarity` the share of the item's words covered.

    `a_id` is the subject, `b_id` the item; `evidence` is JSON: tier, and the run of words they share.
    """
    found = []
    cuts = [cut(text or "", index.config) for text in texts.to_pylist()]
    hits = _hits(index, cuts)
    for row, words in enumerate(cuts):
        match = _best(index, words, hits.get(row, frozenset()))
        if match is not None:
            item, tier, share, said = match
            found.append(
                {"kind": KIND, "a_id": subject_ids[row].as_py(), "b_id": index.items["item_id"][item].as_py(),
                 "similarity": share, "evidence": json.dumps({"tier": tier, "words": said}, ensure_ascii=False),
                 "version": version(index)}
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
        words = [word for token in tokenise(spaced) for word in _WORD.findall(token)]
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


def _runs(words: Sequence[Sequence[str]], n: int, common: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (hash, item) in order of hash, without those in more than `common` items."""
    hashes, rows = _hashes(words, n)
    pairs = np.unique(np.stack([hashes, rows.astype(np.uint64)], 1), axis=0) if len(hashes) else np.zeros((0, 2), np.uint64)
    _, at, counts = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    pairs = pairs[counts[at] <= common] if len(pairs) else pairs
    return pairs[:, 0].copy(), pairs[:, 1].astype(np.int64)


def _hits(index: Index, cuts: Sequence[Sequence[str]]) -> dict[int, frozenset[int]]:
    """The items that share a run, long or short, with each text."""
    found: dict[int, set[int]] = {}
    for n, (known, owners) in index.runs.items():
        if not len(known):
            continue
        hashes, rows = _hashes(cuts, n)
        first, last = np.searchsorted(known, hashes, "left"), np.searchsorted(known, hashes, "right")
        for i in np.flatnonzero(last > first):
            found.setdefault(int(rows[i]), set()).update(owners[first[i] : last[i]].tolist())
    return {row: frozenset(items) for row, items in found.items()}


def _best(index: Index, words: Sequence[str], hits: frozenset[int]) -> tuple[int, str, float, str] | None:
    """Item, tier, share covered and the longest shared run; None where nothing is told."""
    text = " ".join(words)
    if words and text in index.whole:
        return index.whole[text], EXACT, 1.0, text
    found = [match for item in sorted(hits) if (match := _against(index, item, words)) is not None]
    return min(found, key=lambda match: (TIERS.index(match[1]), -match[2], match[0]), default=None)


def _against(index: Index, item: int, words: Sequence[str]) -> tuple[int, str, float, str] | None:
    config, wanted = index.config, index.words[item]
    covered, runs = np.zeros(len(wanted), bool), []
    held = set(_grams(words, config.short))
    for start, gram in enumerate(_grams(wanted, config.short)):
        if gram in held:
            covered[start : start + config.short] = True
    long = set(_grams(words, config.long))
    runs = [gram for gram in _grams(wanted, config.long) if gram in long]
    share = float(covered.mean())
    if runs:
        return item, LONG, share, " ".join(runs[0])
    if share < config.floor:
        return None
    first = int(covered.argmax())
    end = first + int(np.argmin([*covered[first:], False]))
    return item, COVERAGE, share, " ".join(wanted[first:end])


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
