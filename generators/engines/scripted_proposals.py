"""What the scripted engine writes when asked for tasks: new ones, near copies, echoes, nothing, or what it is told to leak.

It reads from the prompt which form is wanted and how many. Everything follows from the request id and the prompt's text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import Field

from ratoon.config import Config
from ratoon.engine import Request
from ratoon.text import tokenise

Share = Annotated[float, Field(ge=0, le=1)]
ROLES = ("proposer", "rewriter")
_STOCK = 32  # texts that near copies are made of
_MANY = re.compile(r"Write (\d+|an?) (?:new )?(?:task|input|question)")
_CHATTER = ("I would rather talk about the weather.", "Sure, here are some ideas for you!", "1. 2. 3.")
_VERBS = (
    "Describe", "Count", "Name", "Sketch", "Order", "Weigh", "Trace", "Guess", "Pair", "Measure", "Praise", "Mend", "Price",
    "Date", "Sort", "Defend", "Map", "Recall", "Judge", "Time",
)  # fmt: skip
_ADJECTIVES = (
    "amber", "brittle", "crooked", "damp", "early", "faded", "gentle", "hollow", "icy", "jagged", "knotted", "loose", "mellow",
    "narrow", "oval", "pale", "quiet", "rusty", "silver", "tidy", "upright", "velvet", "woven", "young", "bitter", "calm",
)  # fmt: skip
_NOUNS = (
    "anchor", "barrel", "candle", "drawer", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle", "ladder",
    "magnet", "needle", "orchard", "pillow", "quarry", "ribbon", "saddle", "teapot", "umbrella", "violin", "window", "yacht",
    "zipper", "basket", "carpet", "dragon", "ferry", "glacier", "harbour", "insect", "jungle", "kitchen", "lantern", "meadow",
    "notebook", "oyster", "pepper", "rocket", "shovel", "tunnel", "valley", "wagon", "acrobat", "bridge", "castle", "desert",
)  # fmt: skip
_PLACES = ("behind", "under", "beside", "inside", "above", "near", "beyond", "against", "around", "below")
_ADDED = {"harder": "Show every step and check the result in a second way.", "easier": "A rough answer will do."}


class ProposalsConfig(Config):
    """What proposers write, and how often."""

    duplicates: Share = Field(0.25, description="share of tasks that nearly copy one of a small stock")
    malformed: Share = Field(0.05, description="share of replies that hold no task")
    silent: Share = Field(0.0, description="share of replies that are empty")
    echoes: Share = Field(0.05, description="share of tasks that repeat one shown in the prompt")
    changed: Share = Field(0.0, description="share of paraphrases that ask for another answer than their parent")
    leaks: tuple[str, ...] = Field((), description="texts that are written as tasks: held-out ones, in tests")
    leaked: Share = Field(0.0, description="share of tasks that are one of `leaks`")


def write(config: ProposalsConfig, request: Request) -> str:
    """The reply to a proposer's or rewriter's request."""
    prompt = str(request.messages[-1]["content"]) if request.messages else ""
    draw = _Draws(request.request_id)
    kind = draw.share()
    if kind < config.silent:
        return ""
    if kind < config.silent + config.malformed:
        return draw.one(_CHATTER)
    if request.role == "rewriter":
        return _rewritten(config, prompt, draw)
    many = _MANY.search(prompt)
    n = int(many.group(1)) if many and many.group(1).isdigit() else 1
    said = "\n".join(str(message["content"]) for message in request.messages or ())
    return _formed(request, prompt, [_task(config, prompt, said, draw) for _ in range(n)])


class _Draws:
    """Numbers in [0, 1) by a text, one after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def share(self) -> float:
        self._at += 1
        return int.from_bytes(blake2b(f"{self._text}/{self._at}".encode(), digest_size=6).digest(), "big") / 2**48

    def one(self, of: Sequence[Any]) -> Any:
        return of[int(self.share() * len(of))]


def _task(config: ProposalsConfig, prompt: str, said: str, draw: _Draws) -> dict[str, str]:
    """Task, input and output of one proposal."""
    kind = draw.share()
    if kind < config.leaked and config.leaks:
        return {"task": draw.one(config.leaks), "input": "", "output": "1"}
    if kind < config.leaked + config.echoes:
        return _echo(prompt, said, draw)
    if kind < config.leaked + config.echoes + config.duplicates:
        copied = _new(prompt, _Draws(f"stock/{int(draw.share() * _STOCK)}"))
        return copied | {"task": copied["task"].replace(" the ", f" the {draw.one(('very ', 'same ', ''))}", 1)}
    return _new(prompt, draw)


def _new(prompt: str, draw: _Draws) -> dict[str, str]:
    if prompt.startswith("Passage:\n"):
        return _about(prompt.removeprefix("Passage:\n").rpartition("\n\nWrite ")[0], draw)
    numbers = re.findall(r"(?m)^Input: (\d+(?:, \d+)+)$", prompt)
    if "for this task" in prompt and numbers:
        task = ", ".join(str(int(draw.share() * 900) + 10) for _ in numbers[0].split(","))
        return {"task": task, "input": "", "output": ""}
    said = f"{draw.one(_VERBS)} the {_thing(draw)} {draw.one(_PLACES)} {_thing(draw)} with {int(draw.share() * 90) + 10} "
    said += f"{_thing(draw)} {draw.one(_PLACES)} {_thing(draw)}."
    return {"task": said, "input": "", "output": str(int(draw.share() * 900) + 100)}


def _thing(draw: _Draws) -> str:
    return f"{draw.one(_ADJECTIVES)} {draw.one(_NOUNS)}"


def _about(passage: str, draw: _Draws) -> dict[str, str]:
    """A question whose answer is the words after five words of the passage."""
    spaced = passage.split()
    parts, glue = (spaced, " ") if len(spaced) >= 8 else (tokenise(passage), "")
    at = int(draw.share() * max(1, len(parts) - 7))
    return {
        "task": f'What comes after "{glue.join(parts[at : at + 5])}"?',
        "input": "",
        "output": glue.join(parts[at + 5 : at + 7]),
    }


def _echo(prompt: str, said: str, draw: _Draws) -> dict[str, str]:
    """One of the examples, word by word."""
    shown = re.findall(r"(?m)^(?:Task|Input): (.+)$", said) or re.findall(r'"task": "([^"\\]+)"', said)
    return {"task": draw.one(shown), "input": "", "output": "1"} if shown else _new(prompt, draw)


def _formed(request: Request, prompt: str, tasks: Sequence[Mapping[str, str]]) -> str:
    """In the form that the schema or the prompt asks for."""
    if request.schema is not None:
        tree = json.loads(request.schema)["properties"]
        if "inputs" in tree:
            return json.dumps({"inputs": [task["task"] for task in tasks]}, ensure_ascii=False)
        names = tree["tasks"]["items"]["properties"]
        return json.dumps({"tasks": [{name: task[name] for name in names} for task in tasks]}, ensure_ascii=False)
    if "Begin each with `Input:`" in prompt:
        return "\n".join(f"Input: {task['task']}" for task in tasks)
    if prompt.startswith("Passage:\n"):
        return "\n\n".join(f"Question: {task['task']}\nAnswer: {task['output']}" for task in tasks)
    return "\n\n".join(f"Task: {t['task']}\nInput: {t['input'] or 'none'}\nOutput: {t['output']}" for t in tasks)


def _rewritten(config: ProposalsConfig, prompt: str, draw: _Draws) -> str:
    task, _, wish = prompt.partition("Task: ")[2].rpartition("\n\n")
    if draw.share() < config.echoes:
        return task
    if "other words" in wish:
        return f"{draw.one(('Please do this:', 'Your task:', 'I ask you this:'))} {task}"
    for word, added in _ADDED.items():
        if word in wish:
            return f"{task} {added}"
    return f"{task} Use at most {int(draw.share() * 40) + 10} words."
