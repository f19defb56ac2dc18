"""Links in a run's folder that lead out of it: through one of a stranger's a write would land anywhere; knows no artifact."""

from __future__ import annotations

import os
from pathlib import Path

# What is large may lie on another disk: names below these are hashes or are checked to be plain, and whole folders of ours.
_MAY_LIE_ELSEWHERE = frozenset({"artifacts", "datasets", "policies", "models", "reports"})


def leading_out(root: Path) -> list[str]:
    """Names of links, relative to the run, that lead out of it; a link of `artifacts` and the like itself is none."""
    inside, names = root.resolve(), []
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not _allowed(root, path) and not path.resolve().is_relative_to(inside):
                names.append(path.relative_to(root).as_posix())
    return sorted(names)


def _allowed(root: Path, path: Path) -> bool:
    return path.parent == root and path.name in _MAY_LIE_ELSEWHERE
