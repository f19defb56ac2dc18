"""What is wrong with a run's folder, and what lies in it that nothing needs. Reads everything, asks no model; knows no Prefect.

The store's own parts are checked byte for byte. Datasets and policies lie beside it: a dataset by the content of its rows,
a policy by its own manifest of weights.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ratoon.errors import RatoonError
from ratoon.sft.data import dataset
from ratoon.sft.models import policy as policies
from ratoon.store import faults, lost
from ratoon.store.store import Manifest, Store

_MINE = re.compile(r"^\.(?P<name>.+?)(\.old)?\.(?P<pid>\d+)$")
_WORK = re.compile(r"^\.(?P<id>.+)\.work$")


def problems(store: Store) -> list[str]:
    """Everything in a run that is not what it was when it was written, in words."""
    live = store.live().values()
    unnamed = whole_but_unnamed(store) if store.lost() else []
    told = [f"{name} is whole, and no commit names it any more" for name in unnamed]
    return [*store.verify(), *told, *_datasets(store, [m for m in live if m.stage == "curate"]), *_policies(store)]


def _datasets(store: Store, curated: list[Manifest]) -> Iterator[str]:
    for made in curated:
        hint = "run the recipe again, or `ratoon curate`: it is made anew from stored rows"
        try:
            folder = dataset.folder_at(store.root, made.extra["folder"])
            if dataset.read_info(folder).dataset_id != made.extra["dataset_id"]:
                yield f"{folder} holds another curation than the log says: {hint}"
            elif not dataset.is_whole(folder, made.extra["dataset_digest"]):
                yield f"{folder} has other rows than were written: {hint}"
        except RatoonError as error:
            yield f"{error.message}: {hint}"


def _policies(store: Store) -> Iterator[str]:
    rows = store.read("policies", store.find("policy"), columns=["policy_id", "uri", "weights_digest"])
    for row in rows.to_pylist():
        folder = store.root / str(row["uri"])
        if row["uri"] is None or row["weights_digest"] is None or not folder.is_relative_to(store.root):
            continue
        try:
            found = policies.verify_policy(folder)
            policies.verify_master(folder)
        except RatoonError as error:
            yield f"{error.message}: {error.hint}"
            continue
        if (found.policy_id, found.weights_digest) != (row["policy_id"], row["weights_digest"]):
            yield f"{folder} holds another policy than the log says: remove it, and the next start trains it anew"


def strays(store: Store) -> list[str]:
    """What no commit names, relative to the run: half-written artifacts, files and folders, journals of what is committed,
    work of trainings that are done, float32 masters and moments of policies that later ones superseded."""
    found = {*store.sweep(dry_run=True), *_half_folders(store), *_dead_journals(store), *_superseded(store)}
    return sorted(found)


def _half_folders(store: Store) -> Iterator[str]:
    """Dataset folders under a hidden name, and the work folders of policies that are there."""
    for path in store.root.glob("datasets/*/.*"):
        if _MINE.match(path.name):
            yield path.relative_to(store.root).as_posix()
    for path in store.root.glob("policies/.*"):
        if (found := _WORK.match(path.name)) and (path.parent / found["id"]).is_dir():
            yield path.relative_to(store.root).as_posix()
    for path in store.root.glob("models/.*"):
        if _MINE.match(path.name):
            yield path.relative_to(store.root).as_posix()


def _superseded(store: Store) -> Iterator[str]:
    """A kill between a policy's commit and the removal of the master and moments it started from leaves those."""
    rows = store.read("policies", store.find("policy"), columns=["policy_id", "iteration"]).to_pylist()
    newest = max(rows, key=lambda row: row["iteration"], default=None)
    if newest is not None:
        for path in policies.superseded(store.root / "policies", newest["policy_id"], newest["iteration"]):
            yield path.relative_to(store.root).as_posix()


def _dead_journals(store: Store) -> Iterator[str]:
    """Empty journals: a start that was killed before its first reply."""
    for path in store.root.glob("journal/*.log"):
        if path.stat().st_size == 0:
            yield path.relative_to(store.root).as_posix()


def whole_but_unnamed(store: Store) -> list[str]:
    """Folders of whole artifacts that no commit names: kept, since what they hold may have been paid for."""
    return [f"artifacts/{manifest.stage}/{manifest.artifact_id}" for manifest in lost.unnamed(store)]


def sweep(root: Path) -> list[str]:
    """Remove what `strays` names, under the run's lock; the names. Killed half-way, the next sweep does the rest."""
    with Store.writer(root) as store:
        names = strays(store)
        for name in names:
            path = store.root / name
            faults.before("sweep", path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return names


def size(root: Path, names: list[str]) -> int:
    """Bytes that they take."""
    total = 0
    for name in names:
        path = root / name
        files = [path] if path.is_file() else [Path(folder, file) for folder, _, some in os.walk(path) for file in some]
        total += sum(file.stat().st_size for file in files if file.exists())
    return total
