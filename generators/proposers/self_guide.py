"""More inputs of one task, from a few examples of it (SELF-GUIDE, arXiv 2407.12874); knows no engine.

The proposer writes inputs only: their outputs are the policy's own rollouts, filtered later. Where outputs are labels, each
prompt names one and asks for inputs that have it, the label with fewest inputs first, else most inputs would have one label.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ratoon import ids
from ratoon.config import Config
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.prompts import MARKUP, Ask, Known, Row, drawn, merged
from ratoon.generators.tasks.seeds import task_text
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user
from ratoon.novelty import tokens_of
from ratoon.text import normalise

_LABEL = re.compile(r"^[\s*#>-]*(?:\d+\s*[.):]\s*)?[*_]*input\s*\d*[*_]*\s*:[*_]*[ \t]*", re.IGNORECASE)
_OUTPUT = re.compile(r"^[\s*#>-]*[*_]*(?:output|label|answer)\s*\d*[*_]*\s*:", re.IGNORECASE)


class SelfGuideConfig(Config):
    """One arm of inputs for a task of one's own."""

    method: Literal["self_guide"] = Field("self_guide", description="inputs of one task, after a few examples")
    name: str = Field("self_guide", pattern=r"^[a-z][a-z0-9_]*$", description="the arm's name, `family` of its tasks")
    instruction: str = Field(min_length=1, description="the task, as it is asked before each input")
    examples: tuple[tuple[str, str], ...] = Field(min_length=1, description="(input, output) pairs")
    labels: tuple[str, ...] = Field((), description="the outputs there are, where they are few; none named: any text")
    asks: int = Field(32, ge=1, description="prompts per wave")
    waves: int = Field(1, ge=1, description="waves per round; each sees what the one before it added")
    per_ask: int = Field(4, ge=1, le=20, description="inputs that one reply is asked for")
    shown: int = Field(4, ge=1, description="examples in a prompt, those of models included")
    constrained: bool | None = Field(None, description="decode under a JSON schema; null: where the engine can")
    novelty: float = Field(0.7, gt=0, le=1, description="ROUGE-L to another input from which one is no longer new")
    max_chars: int = Field(1000, ge=1, description="most characters of an input")

    @property
    def family(self) -> str:
        return self.name


def given(config: SelfGuideConfig) -> list[tuple[str, str]]:
    """What new inputs must differ from besides tasks: the examples' inputs under ids of their own."""
    return [(f"example/{number}", text) for number, (text, _) in enumerate(config.examples)]


def asks(config: SelfGuideConfig, known: Known, seed: int, constrained: bool) -> list[Ask]:
    """The prompts of one wave, equal ones once."""
    made = [row for row in known.made if row["family"] == config.name]
    return merged([_ask(config, made, label, ids.derive_seed(seed, "shown", i), constrained)
                   for i, label in enumerate(_labels(config, made))])  # fmt: skip


def _labels(config: SelfGuideConfig, made: Sequence[Row]) -> list[str]:
    """One label per prompt, that with fewest inputs so far first; blank where outputs are free."""
    counts = Counter(dict.fromkeys(config.labels, 0))
    counts.update(row["meta"].get("label", "") for row in made if row["meta"].get("label") in counts)
    chosen = []
    for _ in range(config.asks):
        label = min(counts, key=lambda label: (counts[label], config.labels.index(label)), default="")
        if label:
            counts[label] += config.per_ask
        chosen.append(label)
    return chosen


def _ask(config: SelfGuideConfig, made: Sequence[Row], label: str, seed: int, constrained: bool) -> Ask:
    by_people = sorted(range(len(config.examples)), key=lambda i: ids.derive_seed(seed, "example", i))
    by_model = drawn(made, min(config.shown // 2, len(made)), seed)
    people = [config.examples[i] for i in by_people[: config.shown - len(by_model)]]
    shown = [f"Input: {text}\nOutput: {output}" for text, output in people]
    shown += [f"Input: {row['meta']['asked']}" for row in by_model]
    many = "1 new input" if config.per_ask == 1 else f"{config.per_ask} new inputs"
    lines = [f"A task for an assistant: {config.instruction}\n\nExamples:\n\n" + "\n\n".join(shown) + "\n",
             f"Write {many} for this task, unlike the examples and unlike each other."]  # fmt: skip
    if label:
        lines.append(f'The right output of each must be "{label}".')
    form = 'Write JSON: {"inputs": [...]}' if constrained else "Begin each with `Input:`"
    lines.append(f"{form} and do not write outputs.")
    schema = _schema(config.per_ask) if constrained else None
    parents = tuple(row["task_id"] for row in by_model)
    return Ask((user("\n".join(lines)),), label, parents, schema=schema)


def _schema(n: int) -> str:
    inputs = {"type": "array", "items": {"type": "string"}, "minItems": n, "maxItems": n}
    whole = {"type": "object", "properties": {"inputs": inputs}, "required": ["inputs"], "additionalProperties": False}
    return json.dumps(whole)


def read(config: SelfGuideConfig, known: Known, ask: Ask, rollout_id: str, text: str, cut: bool) -> list[Candidate]:
    """The candidates of one reply, at least one."""
    inputs = _read_json(text) if ask.schema is not None else _read_plain(text)
    if not inputs:
        reason = "empty" if not text.strip() else "cut" if cut else "no_json" if ask.schema is not None else "no_input"
        return [Candidate(f"{rollout_id}/0", rollout_id, malformed=reason, parent_ids=ask.parent_ids)]
    last = len(inputs) - 1
    return [
        _candidate(config, ask, rollout_id, i, each, cut and i == last and ask.schema is None) for i, each in enumerate(inputs)
    ]


def _candidate(config: SelfGuideConfig, ask: Ask, rollout_id: str, number: int, text: str, cut: bool) -> Candidate:
    message = task_text(config.instruction, text)
    meta = {"kind": config.name, "instruction": config.instruction, "input": text, "asked": text}
    if ask.kind:
        meta["label"] = ask.kind
    return Candidate(
        f"{rollout_id}/{number}", rollout_id, text, message, malformed="cut" if cut else _fault(config, text),
        parent_ids=ask.parent_ids, problem_key=text_key(message), meta=meta,
    )  # fmt: skip


def _fault(config: SelfGuideConfig, text: str) -> str | None:
    if not tokens_of(text):
        return "no_input"
    if len(text) > config.max_chars:
        return "long"
    if any(mark in text for mark in MARKUP):
        return "markup"
    if normalise(text) == normalise(config.instruction):
        return "echo"
    if normalise(text) in {normalise(shown) for shown, _ in config.examples}:
        return "echo"
    return None


def _read_json(text: str) -> list[str]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return []
    inputs = tree.get("inputs") if isinstance(tree, dict) else tree
    return [each.strip() for each in inputs if isinstance(each, str)] if isinstance(inputs, list) else []


def _read_plain(text: str) -> list[str]:
    """Every input after its label; an output that was written in spite of the prompt is passed over."""
    found: list[list[str]] = []
    listening = False
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label is not None:
            found.append([line[label.end() :]])
            listening = True
        elif _OUTPUT.match(line):
            listening = False
        elif listening:
            found[-1].append(line)
    return ["\n".join(lines).strip() for lines in found]
