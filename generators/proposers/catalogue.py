"""The ways in which a model proposes tasks; each says what to ask and how to read the reply, none asks.

Adding one: its file (a frozen config tagged by `method`, `asks`, `read`), one line here, its test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ratoon.config import one_of
from ratoon.generators.proposers import boundary, from_documents, rewrite, self_guide, self_instruct
from ratoon.generators.proposers.proposer import Proposer

PROPOSERS: dict[str, Proposer] = {
    "self_instruct": Proposer(self_instruct.SelfInstructConfig, self_instruct.asks, self_instruct.read),
    "rewrite": Proposer(rewrite.RewriteConfig, rewrite.asks, rewrite.read, "rewriter"),
    "documents": Proposer(
        from_documents.DocumentsConfig,
        from_documents.asks,
        from_documents.read,
        load=from_documents.load,
        most=from_documents.most,
    ),
    "self_guide": Proposer(self_guide.SelfGuideConfig, self_guide.asks, self_guide.read, given=self_guide.given),
    "boundary": Proposer(boundary.BoundaryConfig, boundary.asks, boundary.read, given=boundary.given, votes=True),
}

if TYPE_CHECKING:
    ProposerConfig: TypeAlias = Any
else:
    ProposerConfig = one_of([proposer.config for proposer in PROPOSERS.values()], "method")


def most_asked(config: Any) -> int:
    """Requests that an arm makes in a round at most."""
    return PROPOSERS[config.method].most(config)
