"""What the scripted engine says when it is asked to judge: it finds the planted answer, errs and disobeys as told.

It knows the planted answer of the task and finds the judged replies between the marks that a judge's prompt puts around them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ratoon.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
ROLE = "judge"
APPEAL = "appeal"
_REPLIES = re.compile(r"^<((?:reply|A|B)(?:-\d+)?)>\n(.*?)\n</\1>$", re.MULTILINE | re.DOTALL)
_SCALE = re.compile(r"one digit from (\d) to (\d)")
_NUMBER = re.compile(r"-?\d+")
_LOST = ("I think it is fine.", "Good question!", "Score: high")


class JudgmentsConfig(Config):
    """How well the script judges."""

    accuracy: Share = Field(0.9, description="share of replies whose rightness it sees as it is")
    off_format: Share = Field(0.05, description="share of judgments that are not what was asked for")
    prefers_first: Share = Field(0.0, description="of two replies, share of judgments that take the first whatever it says")
    spread: float = Field(0.5, gt=0, description="how flat its log-probs over the digits are: a temperature")


def write(config: JudgmentsConfig, prompt: str, answer: str | None, draws: Sequence[float]) -> tuple[str, dict[str, float]]:
    """The reply to a judge's prompt, and the log-probs of what might have stood at its first place."""
    if draws[0] < config.off_format:
        return _LOST[int(draws[1] * len(_LOST))], {}
    sees = draws[2] < config.accuracy
    good = [_says(text, answer) == sees for _, text in _REPLIES.findall(prompt)]
    if len(good) == 2:
        first = draws[3] < config.prefers_first or (good[0] if good[0] != good[1] else draws[4] < 0.5)
        return ("A" if first else "B"), {"A": math.log(0.9 if first else 0.1), "B": math.log(0.1 if first else 0.9)}
    scale = _SCALE.search(prompt)
    low, high = (int(scale.group(1)), int(scale.group(2))) if scale else (1, 5)
    target = high if good and good[0] else low
    weights = {str(d): math.exp(-abs(d - target) / config.spread) for d in range(low, high + 1)}
    total = sum(weights.values())
    return str(target), {digit: math.log(weight / total) for digit, weight in weights.items()}


def on_appeal(config: JudgmentsConfig, prompt: str, answer: str | None, draws: Sequence[float]) -> str:
    """Yes or no to whether the reply in an appeal's prompt says the planted answer, as well as it sees."""
    if draws[0] < config.off_format:
        return _LOST[int(draws[1] * len(_LOST))]
    good = [_says(text, answer) for _, text in _REPLIES.findall(prompt)]
    return "yes" if good and good[-1] == (draws[2] < config.accuracy) else "no"


def _says(text: str, answer: str | None) -> bool:
    """Whether the last number of a reply, or the whole reply, is the planted answer."""
    found = _NUMBER.findall(text)
    return answer is not None and (text.strip() == answer or (bool(found) and found[-1] == answer))
