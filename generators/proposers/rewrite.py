"""New tasks out of old ones: said in other words, harder, simpler, or under one more constraint; knows no engine.

The operators are those of Evol-Instruct (arXiv 2304.12244) and of Co-Reward's twins (arXiv 2508.00410), in words of our own. A
rewrite has one parent and may resemble it; it must not say the same as it. A paraphrase keeps the parent's problem key, since
it is the same problem, and is dropped where its numbers are others. No rewrite takes over the parent's gold.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import ConfigError
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.formats import words
from ratoon.generators.proposers.prompts import MARKUP, Ask, Known, Row, merged, said
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user
from ratoon.text import normalise

Operator = Literal["paraphrase", "harden", "simplify", "constrain"]
OPERATORS: dict[str, str] = {
    "paraphrase": "Say the task in other words. Keep every number, name and condition: the right answer must stay the same.",
    "harden": "Make the task harder: add one requirement or one step of reasoning. It must be solvable from what it says.",
    "simplify": "Make the task easier: take away one condition, or use a simpler case of the same thing.",
    "constrain": "Add one constraint on the answer to the task: its length, its form, or words it must or must not hold.",
}
_HEAD = re.compile(
    r"^[\s*_#>-]*(?:(?:new|rewritten|here is the \w+|my)\s+)?(?:task|version|question)\s*[*_]*:[*_]*\s*", re.IGNORECASE
)
_REFUSAL = re.compile(r"^\W*(?:i(?:'m| am)? (?:sorry|cannot|can't|can not|unable)|sorry\b|as an ai\b)", re.IGNORECASE)
_TALK = re.compile(r"\b(?:(?:rewritten|original|given|new) (?:task|prompt|version)|in other words:)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class RewriteConfig(Config):
    """One arm of rewritten tasks."""

    method: Literal["rewrite"] = Field("rewrite", description="training tasks in other words, harder, simpler, constrained")
    name: str = Field("rewrite", pattern=r"^[a-z][a-z0-9_]*$", description="the arm's name, `family` of its tasks")
    asks: int = Field(32, ge=1, description="tasks rewritten per wave; those rewritten least often come first")
    waves: int = Field(1, ge=1, description="waves per round; each sees what the one before it added")
    operators: tuple[Operator, ...] = Field(
        ("paraphrase", "harden", "simplify", "constrain"), min_length=1, description="what is done, taken in turn by hash"
    )
    families: tuple[str, ...] = Field((), description="families whose training tasks are rewritten; none named takes all")
    of_models: bool = Field(True, description="tasks that models made are rewritten too")
    novelty: float = Field(0.7, gt=0, le=1, description="ROUGE-L to any other task than the parent from which it is not new")
    constrained: bool | None = Field(None, description="rewrites are plain text: has no effect")
    min_words: int = Field(3, ge=1, description="fewest words of a task")
    max_chars: int = Field(1000, ge=1, description="most characters of a task")

    @property
    def family(self) -> str:
        return self.name


def asks(config: RewriteConfig, known: Known, seed: int, constrained: bool) -> list[Ask]:
    """One prompt per task and operator. Raises ConfigError where there is no task to rewrite."""
    rows = [*known.people, *(known.made if config.of_models else ())]
    rows = [row for row in rows if not config.families or row["family"] in config.families]
    if not rows:
        raise ConfigError(
            f"arm {config.name!r} has no training task to rewrite", f"mend its `families` ({', '.join(config.families)})"
        )
    done = Counter((row["parent_ids"] or [""])[0] for row in known.made if row["family"] == config.name)
    ordered = sorted(rows, key=lambda r: (done[r["task_id"]], ids.derive_seed(seed, "rewrite", r["task_id"]), r["task_id"]))
    return merged([_ask(config, ordered[i % len(ordered)], seed, i // len(ordered)) for i in range(config.asks)])


def _ask(config: RewriteConfig, row: Row, seed: int, again: int) -> Ask:
    operator = config.operators[ids.derive_seed(seed, f"operator/{again}", row["task_id"]) % len(config.operators)]
    task = said(row)
    prompt = (
        f"Here is a task for an assistant.\n\nTask: {task}\n\n{OPERATORS[operator]} Do not solve it. "
        "Write only the new task, as it would be put to the assistant."
    )
    extra = {"parent": task, "problem_key": row["problem_key"], "output": row["meta"].get("output", "")}
    return Ask((user(prompt),), operator, (row["task_id"],), task_id=row["task_id"], extra=extra)


def read(config: RewriteConfig, known: Known, ask: Ask, rollout_id: str, text: str, cut: bool) -> list[Candidate]:
    """The one candidate of a reply."""
    task = _HEAD.sub("", text.strip(), count=1).strip().strip('"“”').strip()
    same = ask.kind == "paraphrase"
    meta = {"kind": "rewrite", "operator": ask.kind}
    key = ask.extra["problem_key"] if same else text_key(task) if task else None
    reason = "cut" if cut else _fault(config, ask, task)
    return [
        Candidate(
            f"{rollout_id}/0", rollout_id, task, malformed=reason, parent_ids=ask.parent_ids, problem_key=key,
            near=frozenset(ask.parent_ids), meta=meta,
        )
    ]  # fmt: skip


def _fault(config: RewriteConfig, ask: Ask, task: str) -> str | None:
    """What is wrong with a rewrite by its form and its parent alone, or null."""
    parent = ask.extra["parent"]
    if not task:
        return "empty"
    if _REFUSAL.match(task):
        return "refusal"
    if _TALK.search(task):
        return "talks_about_rewriting"
    if any(mark in task for mark in MARKUP):
        return "markup"
    if normalise(task) == normalise(parent):
        return "echo"
    if len(words(task)) < max(1, min(config.min_words, len(words(parent)))):
        return "short"
    if len(task) > config.max_chars:
        return "long"
    if ask.kind == "paraphrase" and Counter(_NUMBER.findall(task)) != Counter(_NUMBER.findall(parent)):
        return "numbers_changed"
    return None
