"""What a set of texts says over and over: runs of words that many rows share, how texts begin, what prompts ask for.

Words are cut at blanks and lowered. The verb and noun of a prompt follow Self-Instruct (2212.10560) without its parser: the
first word that is a known verb of asking, and the first word after it that can be a thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ratoon.metrics.report import Gram, Opening, VerbNoun

VERSION = "1"
RUN = 6  # words of a shared run
_HEAD = 400  # words of a text that are looked at
_DEPTH, _WIDE = 4, 6
_VERBS_SAID = """
add analyze answer arrange assume build calculate change check choose classify compare complete compose compute consider
construct convert correct count create define derive describe design determine develop discuss divide edit estimate
evaluate explain express extract factor fill find fix generate give graph identify imagine implement improve infer
integrate label list make match measure multiply name order organize outline paraphrase plan predict prepare prove
provide rank rate read recommend reduce rewrite round select show simplify solve sort state subtract suggest sum
summarize tell think translate use verify write
"""
_VERBS = frozenset(_VERBS_SAID.split())
_NO_NOUN_SAID = """
a an the this that these those my your his her its our their some any each every all both of for to in on at by with
from about as and or if it me us you them is are be was were following given new short simple good best two three one
five ten many much more most possible
"""
_NO_NOUN = frozenset(_NO_NOUN_SAID.split())


class Repeated(NamedTuple):
    """Shared runs with the rows that hold each, most first."""

    grams: list[Gram]
    rows: list[list[int]]


def repeated(texts: Sequence[str], most: int = 20, least: float = 0.02) -> Repeated:
    """Runs of RUN words that at least a share `least` of the texts (and three of them) hold, at most `most` of them.

    A run that mostly shares its rows with one told before is left out: it is the same template, a word on.
    """
    held: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        words = text.lower().split()[:_HEAD]
        for gram in {" ".join(words[j : j + RUN]) for j in range(len(words) - RUN + 1)}:
            held.setdefault(gram, []).append(i)
    floor = max(3, least * len(texts))
    found: list[tuple[str, list[int]]] = []
    ranked = sorted((g for g in held.items() if len(g[1]) >= floor), key=lambda g: (-len(g[1]), g[0]))
    for gram, rows in ranked[: 40 * most]:
        if len(found) < most and not any(_same(gram, rows, *told) for told in found):
            found.append((gram, rows))
    grams: list[Gram] = [{"text": g, "count": len(r), "share": len(r) / len(texts)} for g, r in found]
    return Repeated(grams, [rows for _, rows in found])


def _same(gram: str, rows: list[int], told: str, told_rows: list[int]) -> bool:
    shared = len(set(gram.split()) & set(told.split())) >= RUN // 2
    return shared and len(set(rows) & set(told_rows)) > 0.8 * len(rows)


def openings(texts: Iterable[str], depth: int = _DEPTH) -> list[Opening]:
    """How texts begin, as a tree of their first words: the commonest branches, those of at least two rows."""
    return _branches([text.split()[:depth] for text in texts], depth)


def _branches(heads: list[list[str]], depth: int) -> list[Opening]:
    if not depth:
        return []
    count = Counter(head[0] for head in heads if head)
    found = sorted(((word, n) for word, n in count.items() if n >= 2), key=lambda item: (-item[1], item[0]))[:_WIDE]
    return [
        {"word": word, "rows": n, "next": _branches([h[1:] for h in heads if h and h[0] == word], depth - 1)}
        for word, n in found
    ]


def verb_nouns(prompts: Iterable[str], most: int = 40) -> list[VerbNoun]:
    """What prompts ask for, commonest first; a prompt without a known verb is left out."""
    count: Counter[tuple[str, str]] = Counter()
    for prompt in prompts:
        words = [word.strip(".,;:!?()\"'").lower() for word in prompt.split()[:60]]
        at = next((i for i, word in enumerate(words) if word in _VERBS), None)
        if at is not None:
            things = (word for word in words[at + 1 : at + 8] if word.isalpha() and word not in _NO_NOUN and len(word) > 2)
            count[words[at], next(things, "")] += 1
    ranked = sorted(count.items(), key=lambda item: (-item[1], item[0]))
    found: list[VerbNoun] = [{"verb": verb, "noun": noun, "rows": n} for (verb, noun), n in ranked if noun]
    return found[:most]
