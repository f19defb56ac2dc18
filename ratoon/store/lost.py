"""Artifacts that are whole though no commit names them: what they hold may have been paid for, so it is never litter.

A kill between an artifact and its commit leaves one, which the next start makes anew under the same id; commits lost from the
end of the log leave many, which are added back here.
"""

from __future__ import annotations

from pathlib import Path

from ratoon.store import parts
from ratoon.store.manifest import Manifest
from ratoon.store.store import Store


def unnamed(store: Store) -> list[Manifest]:
    """The whole artifacts that no commit names, oldest first; one with a damaged manifest or part is none."""
    known = {manifest.artifact_id for manifest in store.history()}
    manifests = []
    for path in store.root.glob("artifacts/*/*/manifest.json"):
        if path.parent.name not in known and (manifest := _whole(store.root, path)) is not None:
            manifests.append(manifest)
    return sorted(manifests, key=lambda manifest: (manifest.created_at, manifest.artifact_id))


def add_back(root: Path) -> list[str]:
    """Add what commits that are lost had added, each in the place of what its slot holds; the names of their folders.

    Which artifacts those commits removed beside is not known: the next start drops what its recipe no longer makes.
    """
    with Store.writer(root, short=True) as store:
        if store.lost() is None:
            return []
        names = []
        for manifest in unnamed(store):
            slot = (manifest.stage, manifest.iteration, manifest.shard)
            before = [m.artifact_id for m in store.live().values() if (m.stage, m.iteration, m.shard) == slot]
            store.adopt(manifest, remove=before)
            names.append(f"artifacts/{manifest.stage}/{manifest.artifact_id}")
        store.settle()
        return names


def _whole(root: Path, path: Path) -> Manifest | None:
    try:
        manifest = Manifest.from_json(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    whole = manifest.artifact_id == path.parent.name == manifest.key.artifact_id
    return manifest if whole and all(parts.problem(root, part) is None for part in manifest.parts) else None
