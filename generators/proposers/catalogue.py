"""The ways in which a model proposes tasks; each says what to ask and how to read the reply, none asks.

Adding one: its file (a frozen config tagged by `method`, `asks`, `read`), one line here, its test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ratoon.generators.proposers import boundary, from_documents, rewrite, self_guide, self_instruct
from ratoon.generators.proposers.boundary import BoundaryConfig
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.from_documents import DocumentsConfig
from ratoon.generators.proposers.prompts import Ask, Known
from ratoon.generators.proposers.rewrite import RewriteConfig
from ratoon.generators.proposers.self_guide import SelfGuideConfig
from ratoon.generators.proposers.self_instruct import SelfInstructConfig


class Proposer(NamedTuple):
    """`asks(config, known, seed, constrained)`, `read(config, known, ask, rollout_id, text, cut)`, the role it is asked in.

    `load(config)` reads what is not in the run (it has `failures` and `version`); `given(config)` are ids and texts, besides
    tasks, that a new task must differ from; `votes` says that it is shown what earlier rounds agreed on.
    """

    role: str
    asks: Callable[[Any, Known, int, bool], list[Ask]]
    read: Callable[[Any, Known, Ask, str, str, bool], list[Candidate]]
    load: Callable[[Any], Any] | None = None
    given: Callable[[Any], Sequence[tuple[str, str]]] | None = None
    votes: bool = False


PROPOSERS: dict[str, Proposer] = {
    "self_instruct": Proposer("proposer", self_instruct.asks, self_instruct.read),
    "rewrite": Proposer("rewriter", rewrite.asks, rewrite.read),
    "documents": Proposer("proposer", from_documents.asks, from_documents.read, from_documents.load),
    "self_guide": Proposer("proposer", self_guide.asks, self_guide.read, given=self_guide.given),
    "boundary": Proposer("proposer", boundary.asks, boundary.read, given=boundary.given, votes=True),
}

ProposerConfig = Annotated[
    BoundaryConfig | SelfInstructConfig | RewriteConfig | DocumentsConfig | SelfGuideConfig, Field(discriminator="method")
]


def most_asked(config: Any) -> int:
    """Requests that an arm makes in a round at most: with every question of a passage new, and asked without it."""
    again = config.per_ask * config.closed_book if isinstance(config, DocumentsConfig) else 0
    return int(config.asks * config.waves * (1 + again))
