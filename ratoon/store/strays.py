"""What lies in a run's folder and no commit names: half-written artifacts, temporary files, journals of what is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def strays(root: Path, known: set[str], writing: set[str]) -> Iterator[str]:
    """Their names, relative to the run. A whole artifact is none, though no commit names it: it may have been paid for."""
    for folder in root.glob("artifacts/*/*"):
        if folder.name not in known | writing and not (folder / "manifest.json").exists():
            yield folder.relative_to(root).as_posix()
    for path in root.glob("journal/*.log"):
        if path.stem in known:
            yield path.relative_to(root).as_posix()
    for path in (*root.glob(".*.tmp"), *root.glob("commits/.*.tmp"), *root.glob("artifacts/*/*/.*.tmp")):
        if path.parent.name in known or path.parent.name == "commits" or path.parent == root:
            yield path.relative_to(root).as_posix()
