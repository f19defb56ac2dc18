"""A run on disk: parts, manifests, the log of commits, the journal, the lock. `Store` is its face.

What the log does not add does not exist; see `ratoon.store.store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratoon.store.manifest import ArtifactKey, Commit, Counts, Manifest, Part
    from ratoon.store.store import Store

__all__ = ["ArtifactKey", "Commit", "Counts", "Manifest", "Part", "Store"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ratoon.store import store

        return getattr(store, name)
    raise AttributeError(f"module 'ratoon.store' has no attribute {name!r}")
