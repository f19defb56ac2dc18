"""Questions over a folder of text: each is asked of one passage, which is kept with it; knows no engine.

A question must be understood without its passage, its answer must stand in the passage, and a policy that is asked without the
passage must not give that answer (SPELL, arXiv 2509.23863): what it knows anyway teaches nothing about the documents. The
task holds the passage, or those retrieved for the question (Self-Specialization, arXiv 2310.00160), or neither.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.generators.proposers import formats as form
from ratoon.generators.proposers import retrieval
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.formats import Draft
from ratoon.generators.proposers.prompts import MARKUP, Ask, Known, merged
from ratoon.generators.proposers.retrieval import Bm25, Passage
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user

_REFERS = re.compile(r"\b(?:this|the|above|given) (?:passage|text|paragraph|excerpt|document|article|author)\b", re.IGNORECASE)
_ASKED_BEFORE = 5  # earlier questions on a passage that its prompt names


class DocumentsConfig(Config):
    """One arm of questions over documents."""

    method: Literal["documents"] = Field("documents", description="questions over a folder of text")
    name: str = Field("documents", pattern=r"^[a-z][a-z0-9_]*$", description="the arm's name, `family` of its tasks")
    path: str = Field(min_length=1, description="folder of text files, read with all folders in it")
    suffixes: tuple[str, ...] = Field((".txt", ".md", ".rst"), min_length=1, description="files that are read")
    max_bytes: int = Field(10_000_000, ge=1, description="files beyond this are failures")
    passage_chars: int = Field(800, ge=40, description="most characters of a passage")
    asks: int = Field(32, ge=1, description="prompts per wave; passages with fewest questions come first")
    waves: int = Field(1, ge=1, description="waves per round; each sees what the one before it added")
    per_ask: int = Field(1, ge=1, le=10, description="questions that one reply is asked for")
    constrained: bool | None = Field(None, description="decode under a JSON schema; null: where the engine can")
    novelty: float = Field(0.7, gt=0, le=1, description="ROUGE-L to another question from which one is no longer new")
    support: float = Field(
        0.5, ge=0, le=1, description="share of the answer's words, weighted by rarity, that must stand in the passage"
    )
    closed_book: int = Field(2, ge=0, description="times a question is asked without its passage; 0 leaves that check out")
    agree: float = Field(0.6, gt=0, le=1, description="word F1 from which such a reply agrees with the answer")
    context: Literal["own", "retrieved", "none"] = Field("own", description="what the task shows with the question")
    passages: int = Field(3, ge=1, description="passages retrieved for a question by BM25")
    wording: str = Field("{passages}\n\n{question}", description="the task, with {passages} and {question} in it")

    @field_validator("wording")
    @classmethod
    def _holds_both(cls, wording: str) -> str:
        if "{passages}" not in wording or "{question}" not in wording:
            raise ValueError("must hold {passages} and {question}")
        return wording

    @property
    def family(self) -> str:
        return self.name


@dataclass(frozen=True)
class Documents:
    """The passages of a folder, their index, and the files that gave none."""

    index: Bm25
    failures: Sequence[dict[str, Any]]
    version: str


def load(config: DocumentsConfig) -> Documents:
    """The folder as it is now. Raises DataError where no file gives a passage."""
    passages, failures = retrieval.read_folder(
        Path(config.path), tuple(s.lower() for s in config.suffixes), config.passage_chars, config.max_bytes, 8
    )
    return Documents(Bm25(passages), failures, retrieval.version(passages))


def most(config: DocumentsConfig) -> int:
    """Requests of a round at most: with every question of a passage new, and asked without it."""
    return config.asks * config.waves * (1 + config.per_ask * config.closed_book)


def asks(config: DocumentsConfig, known: Known, seed: int, constrained: bool) -> list[Ask]:
    """One prompt per passage, those with fewest questions first; round again where there are fewer passages than prompts."""
    passages: Sequence[Passage] = known.material.index.passages
    asked: dict[str, list[str]] = {}
    for row in known.made:
        if row["family"] == config.name:
            asked.setdefault(row["meta"].get("passage_id", ""), []).append(row["meta"]["asked"])
    ordered = sorted(
        passages,
        key=lambda p: (len(asked.get(p.passage_id, ())), ids.derive_seed(seed, "passage", p.passage_id), p.passage_id),
    )
    chosen = [ordered[i % len(ordered)] for i in range(config.asks)]
    return merged([_ask(config, passage, asked.get(passage.passage_id, ()), constrained) for passage in chosen])


def _ask(config: DocumentsConfig, passage: Passage, before: Sequence[str], constrained: bool) -> Ask:
    many = "a question" if config.per_ask == 1 else f"{config.per_ask} questions"
    lines = [f"Passage:\n{passage.text}\n",
             f"Write {many} that can be answered from this passage. Ask for facts that only this text tells, and name what you "
             "ask about: the question must be understood by somebody who does not see the text. Keep the answer short and in "
             "the words of the text."]  # fmt: skip
    if before:
        lines.append(f"Ask something else than: {' / '.join(before[-_ASKED_BEFORE:])}")
    if constrained:
        lines.append('Write JSON: {"tasks": [{"task": question, "output": answer}]}')
    else:
        lines.append("Use this form and write nothing else:\nQuestion: ...\nAnswer: ...")
    schema = form.schema(config.per_ask, False, with_input=False) if constrained else None
    extra = {"passage_id": passage.passage_id, "where": passage.where, "passage": passage.text}
    return Ask((user("\n".join(lines)),), "question", schema=schema, extra=extra)


def read(config: DocumentsConfig, known: Known, ask: Ask, rollout_id: str, text: str, cut: bool) -> list[Candidate]:
    """The candidates of one reply, at least one."""
    drafts = form.read_json(text) if ask.schema is not None else form.read_plain(text)
    if not drafts:
        reason = "empty" if not text.strip() else "cut" if cut else "no_json" if ask.schema is not None else "no_question"
        return [Candidate(f"{rollout_id}/0", rollout_id, malformed=reason)]
    return [
        _candidate(config, known, ask, rollout_id, number, draft, torn)
        for number, (draft, torn) in enumerate(form.torn(drafts, cut, ask.schema))
    ]


def _candidate(
    config: DocumentsConfig, known: Known, ask: Ask, rollout_id: str, number: int, draft: Draft, cut: bool
) -> Candidate:
    question = draft.instruction
    shown = _context(config, known, ask, question)
    message = config.wording.replace("{passages}", "\n\n".join(p for p in shown)).replace("{question}", question).strip()
    meta = {"kind": "question", "output": draft.output, "passage_id": ask.extra["passage_id"], "where": ask.extra["where"],
            "passage": ask.extra["passage"], "asked": question}  # fmt: skip
    return Candidate(
        f"{rollout_id}/{number}", rollout_id, question, message if shown else question,
        malformed="cut" if cut else _fault(config, known, ask, draft),
        problem_key=text_key(question) if question else None, meta=meta,
    )  # fmt: skip


def _context(config: DocumentsConfig, known: Known, ask: Ask, question: str) -> list[str]:
    if config.context == "own":
        return [ask.extra["passage"]]
    if config.context == "none":
        return []
    return [passage.text for passage in known.material.index.best(question, config.passages)]


def _fault(config: DocumentsConfig, known: Known, ask: Ask, draft: Draft) -> str | None:
    if not draft.instruction:
        return "no_question"
    if len(form.words(draft.instruction)) < 3:
        return "short"
    if len(draft.instruction) > 500 or len(draft.output) > config.passage_chars:
        return "long"
    if any(mark in f"{draft.instruction} {draft.output}" for mark in MARKUP):
        return "markup"
    if not form.words(draft.output):
        return "no_answer"
    if _REFERS.search(draft.instruction):
        return "refers_to_passage"
    return None if _support(known, ask, draft) >= config.support else "unsupported"


def _support(known: Known, ask: Ask, draft: Draft) -> float:
    """The share of the answer's words that stand in the passage, each by how much it tells: `the` supports nothing."""
    passage = set(form.words(ask.extra["passage"]))
    weights = [(known.material.index.weight(word), word in passage) for word in form.words(draft.output)]
    return sum(weight for weight, held in weights if held) / sum(weight for weight, _ in weights)


def agreement(config: DocumentsConfig, candidate: Candidate, replies: Sequence[str]) -> float:
    """The share of replies, given without the passage, that agree with the answer given with it."""
    answer = form.words(candidate.meta["output"])
    agreeing = sum(_agrees(answer, form.words(reply), config.agree) for reply in replies)
    return agreeing / len(replies) if replies else 0.0


def _agrees(answer: Sequence[str], reply: Sequence[str], least: float) -> bool:
    """Whether the reply holds the answer word by word, or shares enough of its words (F1)."""
    n = len(answer)
    if any(list(reply[i : i + n]) == list(answer) for i in range(len(reply) - n + 1)):
        return True
    shared = sum((Counter(answer) & Counter(reply)).values())
    return shared > 0 and 2 * shared / (n + len(reply)) >= least
