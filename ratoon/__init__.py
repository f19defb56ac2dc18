"""ratoon: a language model improves itself on data it made; its owner sees, queries and trusts that data.

`from ratoon import Run, judge_reply` is the Python face; `ratoon --help` is the other one. Importing this package is light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratoon.metrics.verifiers.judge_reply import judge_reply
    from ratoon.run import Run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "judge_reply"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        from ratoon.run import Run

        return Run
    if name == "judge_reply":
        from ratoon.metrics.verifiers.judge_reply import judge_reply

        return judge_reply
    raise AttributeError(f"module 'ratoon' has no attribute {name!r}")
