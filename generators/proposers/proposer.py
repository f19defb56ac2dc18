"""What a proposer is, as its catalogue holds it; knows no proposer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ratoon.config import Config
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.prompts import Ask, Known


def _once(config: Any) -> int:
    return int(config.asks * config.waves)


class Proposer(NamedTuple):
    """A catalogue entry: its config, what it asks and how it reads the reply, and the role it is asked in.

    `asks(config, known, seed, constrained)` and `read(config, known, ask, rollout_id, text, cut)` run no model. `load(config)`
    reads what is not in the run (it has `failures` and `version`); `given(config)` are ids and texts, besides tasks, that a new
    task must differ from; `most(config)` are the requests of a round at most; `votes` says that it is shown what earlier rounds
    agreed on.
    """

    config: type[Config]
    asks: Callable[[Any, Known, int, bool], list[Ask]]
    read: Callable[[Any, Known, Ask, str, str, bool], list[Candidate]]
    role: str = "proposer"
    load: Callable[[Any], Any] | None = None
    given: Callable[[Any], Sequence[tuple[str, str]]] | None = None
    most: Callable[[Any], int] = _once
    votes: bool = False
