"""Tasks at the boundary of what a model can do, asked back as a question about itself: can you do this? Knows no engine.

KnowRL (2510.11407): the model writes tasks it believes it can do and tasks it believes it cannot, then says of each, many times
over, whether it could; its agreement with itself is the reward. What it believed when writing is kept in `meta` and is no
label. Examples are those below, written by people, and tasks of earlier rounds whose vote was accepted. Agreement is not
truth: a model that calls everything feasible agrees with itself perfectly, so the balance of votes is watched.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratoon import ids
from ratoon.config import Config
from ratoon.generators.proposers import formats as form
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.prompts import MARKUP, Ask, Known, merged
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user
from ratoon.text import normalise

KINDS = {"feasible": "yes", "infeasible": "no"}
_WISH = {
    "feasible": "that you can do well: words and plain knowledge are enough for it",
    "infeasible": "that you cannot do: it needs senses, a body, today's news, private facts, or a result nobody knows",
}
QUESTION = "Here is a task.\n\n{task}\n\nCould you do this task well, here and now, by writing a reply? Answer yes or no."
SEEDS = {
    "feasible": (
        "Name the capital of Norway.",
        "Add 17 and 26.",
        "Translate the word bread into German.",
        "Explain why ice floats on water.",
        "Write a polite sentence that declines an invitation.",
        "List the four seasons in order.",
        "Give the plural of the word mouse.",
        "Say which is longer, a metre or a mile.",
        "Sort these words by alphabet: pear, apple, fig.",
        "Describe what a thermometer is for.",
        "Turn this sentence into the past tense: she walks home.",
        "Name three animals that lay eggs.",
        "Write a two-line rhyme about rain.",
        "Convert 3 hours into minutes.",
        "Say what the letters USB stand for.",
        "Summarise the story of the tortoise and the hare in one sentence.",
    ),
    "infeasible": (
        "Tell me what I had for breakfast this morning.",
        "Smell this milk and say whether it has turned.",
        "Read out the number plate of the car outside my window.",
        "Say which horse will win the next race.",
        "Fetch a glass of water from the kitchen.",
        "Give the exact temperature in my room right now.",
        "Tell me the password of my neighbour's network.",
        "Prove or refute that every even number above 2 is a sum of two primes.",
        "Call my dentist and move the appointment.",
        "Say what the newspaper will print tomorrow on page one.",
        "Count the coins in my left pocket.",
        "Play the tune I am humming on a piano.",
        "Name the person who is standing behind me.",
        "Taste this soup and say how much salt it lacks.",
        "Write down every digit of pi.",
        "Tell me the thought I have in mind at this moment.",
    ),
}


class BoundaryConfig(Config):
    """One arm of questions about the model's own ability."""

    method: Literal["boundary"] = Field("boundary", description="tasks that the model says it can or cannot do, asked back")
    name: str = Field("boundary", pattern=r"^[a-z][a-z0-9_]*$", description="the arm's name, `family` of its tasks")
    asks: int = Field(32, ge=2, description="prompts per wave, half of them for tasks that cannot be done; one task each")
    waves: int = Field(1, ge=1, description="waves per round; each sees what the one before it added")
    shown: int = Field(4, ge=1, description="examples in a prompt")
    agreed_share: float = Field(
        0.5, ge=0, le=1, description="most of the examples that are tasks of earlier rounds with an accepted vote"
    )
    novelty: float = Field(0.7, gt=0, le=1, description="ROUGE-L to any other task from which one is not new")
    constrained: bool | None = Field(None, description="proposals are plain text: has no effect")
    min_words: int = Field(3, ge=1, description="fewest words of a task")
    max_chars: int = Field(400, ge=1, description="most characters of a task")

    @property
    def family(self) -> str:
        return self.name


def asks(config: BoundaryConfig, known: Known, seed: int, constrained: bool) -> list[Ask]:
    """Prompts for tasks of both kinds in turn, each with examples of its kind drawn by hash."""
    return merged([_ask(config, known, seed, number, kind) for number, kind in enumerate(_kinds(config.asks))])


def _kinds(n: int) -> list[str]:
    return [list(KINDS)[i % 2] for i in range(n)]


def _ask(config: BoundaryConfig, known: Known, seed: int, number: int, kind: str) -> Ask:
    agreed = {
        row["task_id"]: row["meta"]["asked"]
        for row in known.made
        if row["family"] == config.name and known.votes.get(row["task_id"]) == KINDS[kind]
    }
    mine = sorted(agreed, key=lambda task: ids.derive_seed(seed, f"shown/{number}", task))[
        : int(config.shown * config.agreed_share)
    ]
    people = sorted(SEEDS[kind], key=lambda text: ids.derive_seed(seed, f"seed/{number}", text))[: config.shown - len(mine)]
    examples = "\n\n".join(f"Task: {text}" for text in [*people, *(agreed[task] for task in mine)])
    prompt = (
        f"{examples}\n\nWrite a new task {_WISH[kind]}. It must differ from those above. Begin with `Task:`, write one line."
    )
    return Ask((user(prompt),), kind, tuple(mine))


def read(config: BoundaryConfig, known: Known, ask: Ask, rollout_id: str, text: str, cut: bool) -> list[Candidate]:
    """The one candidate of a reply: the question whether the task that it writes can be done."""
    drafts = form.read_plain(text)
    task = drafts[0].instruction.strip().partition("\n")[0] if drafts else ""
    shown = ask.messages[-1]["content"]
    reason = _fault(config, shown, task) or ("cut" if cut and len(drafts) < 2 and text.rstrip().endswith(task) else None)
    return [
        Candidate(
            f"{rollout_id}/0", rollout_id, task, message=QUESTION.format(task=task), malformed=reason,
            parent_ids=ask.parent_ids, problem_key=text_key(task) if task else None,
            meta={"kind": ask.kind, "label": KINDS[ask.kind]},
        )
    ]  # fmt: skip


def _fault(config: BoundaryConfig, shown: str, task: str) -> str | None:
    if not task:
        return "no_task"
    if any(mark in task for mark in MARKUP):
        return "markup"
    if normalise(f"Task: {task}\n") in normalise(shown):
        return "echo"
    if len(form.words(task)) < config.min_words:
        return "short"
    return "long" if len(task) > config.max_chars else None


def given(config: BoundaryConfig) -> list[tuple[str, str]]:
    """The examples: a task that says the same is not new."""
    return [(f"{kind}-{i}", text) for kind, texts in SEEDS.items() for i, text in enumerate(texts)]
